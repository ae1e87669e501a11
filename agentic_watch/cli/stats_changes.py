"""What `stats --compare` prints: who became better or worse, and the commands that show the dispatches behind it."""

from __future__ import annotations

import logging
import shlex
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from agentic_watch.answers import documents
from agentic_watch.answers.answer import Answer
from agentic_watch.answers.source import Source
from agentic_watch.answers.stats import NOBODY, Group, document, keyed
from agentic_watch.cli import messages
from agentic_watch.cli.amounts import dollars
from agentic_watch.cli.answer_form import Form, print_answer, say_cut
from agentic_watch.cli.output import clean, coloured
from agentic_watch.cli.rate_text import told

Changes = dict[str, list[tuple[Group, Group]]]
"""By what was compared (agent, model, repo): a group before and after."""


@dataclass(frozen=True, slots=True)
class Spans:
    """What is compared: `length` as it was given, where the span before and this one begin, and where this one ends
    ("": now)."""

    length: str
    before: str
    since: str
    until: str


def print_changes(source: Source, found: Changes, spans: Spans, form: Form) -> None:
    """Print the changes; the commands below each list what failed behind it."""
    length, middle = spans.length, spans.since
    if form.name != "table":
        _print_rows(source, found, spans, form)
        return
    changes = [(by, before, after) for by, pairs in found.items() for before, after in pairs]
    if not changes:
        speaks = documents.speaks_from(source)
        if not speaks:
            messages.tell(logging.INFO, "nothing to compare: the history is empty")
            return
        click.echo(f"no significant change (95 % intervals overlap): the last {length} against the {length} before")
        if speaks > middle:
            click.echo(f"history starts at {_short(speaks)}: there is nothing before the last {length}")
    shown = form.cut(changes)
    for by, before, after in shown:
        word = coloured("better", "green") if _is_better(before, after) else coloured("worse", "red")
        rates = f"{told(after.rate)} after {told(before.rate)}"
        click.echo(f"{by} {clean(after.key) or '(none)'}: {word}, {rates}{_cost(before, after)}")
        for command in commands(by, after.key, spans):
            click.echo(f"  {clean(command)}")
    say_cut(len(shown), len(changes))


def _cost(before: Group, after: Group) -> str:
    """What a dispatch that passed cost, where both are known."""
    if before.per_passed is None or after.per_passed is None:
        return ""
    return f"; {dollars(after.per_passed)} per passed after {dollars(before.per_passed)}"


def commands(by: str, key: str, spans: Spans) -> list[str]:
    """The commands that list what failed behind a change: in this span, and in the one before."""
    which = filters(by, key)
    start = f"agentic-watch history --failed -n 0{which}"
    ends = f" --until {_short(spans.until)}" if spans.until else ""
    return [
        f"{start} --since {_short(spans.since)}{ends}",
        f"{start} --since {_short(spans.before)} --until {_short(spans.since)}",
    ]


def filters(by: str, key: str) -> str:
    """The options that ask for one group; "" where there are none, as for a model."""
    if by == "repo":
        org, _, repo = key.rpartition("/")
        return (f" --org {shlex.quote(org)}" if org else "") + f" --repo {shlex.quote(repo)}"
    return f" --{by} {shlex.quote(key)}" if by in ("agent", "org", "status", "host", "model", "pr") else ""


def _short(utc: str) -> str:
    return f"{utc[:19]}Z"


def flat(group: Group) -> dict[str, Any]:
    """A group as a row of CSV."""
    row: dict[str, Any] = {}
    for name, value in keyed(group).items():
        row |= {f"{name}_{part}": one for part, one in value.items()} if isinstance(value, dict) else {name: value}
    return row


def _print_rows(source: Source, found: Changes, spans: Spans, form: Form) -> None:
    head = {
        "schema": documents.SCHEMA,
        "span": spans.length,
        "before_since": spans.before,
        "since": spans.since,
        "until": spans.until or None,
        "history_since": documents.speaks_from(source) or None,
    }
    pairs = [(by, before, after) for by, changes in found.items() for before, after in changes]
    as_row = _flat_change if form.name == "csv" else partial(_change, spans)
    columns = tuple(_flat_change("", NOBODY, NOBODY))
    print_answer(form, Answer(head, columns, [as_row(*pair) for pair in pairs]))


def _change(spans: Spans, by: str, before: Group, after: Group) -> dict[str, Any]:
    return {
        "by": by,
        "key": after.key or None,
        "better": _is_better(before, after),
        "before": document(before),
        "after": document(after),
        "commands": commands(by, after.key, spans),
    }


def _flat_change(by: str, before: Group, after: Group) -> dict[str, Any]:
    row = {"by": by, "key": after.key or None, "better": _is_better(before, after)}
    for when, group in (("before", before), ("after", after)):
        row |= {f"{when}_{name}": value for name, value in flat(group).items() if name != "key"}
    return row


def _is_better(before: Group, after: Group) -> bool:
    return (after.rate.value or 0) > (before.rate.value or 0)
