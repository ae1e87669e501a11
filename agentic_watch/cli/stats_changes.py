"""What `stats --compare` prints: who became better or worse, and the commands that show the dispatches behind it."""

from __future__ import annotations

import shlex
from typing import Any

import click

from agentic_watch.answers import documents
from agentic_watch.answers.source import Source
from agentic_watch.answers.stats import Group, document
from agentic_watch.cli.output import clean, coloured, print_json
from agentic_watch.cli.rate_text import told

Changes = dict[str, list[tuple[Group, Group]]]
"""By what was compared (agent, model, repo): a group before and after."""


def print_changes(source: Source, found: Changes, spans: tuple[str, str, str], *, as_json: bool) -> None:
    """Print all changes; `spans` are the length as it was given, and where the span before and this one begin."""
    length, first, middle = spans
    if as_json:
        print_json(_document(source, found, spans))
        return
    changes = [(by, before, after) for by, pairs in found.items() for before, after in pairs]
    if not changes:
        speaks = documents.speaks_from(source)
        if not speaks:
            click.echo("nothing to compare: the history is empty", err=True)
            return
        click.echo(f"nothing changed that 95 % intervals tell apart: the last {length} against the {length} before")
        if speaks > middle:
            click.echo(f"the history speaks from {_short(speaks)} on: there is nothing before the last {length}")
    for by, before, after in changes:
        better = (after.rate.value or 0) > (before.rate.value or 0)
        word = coloured("better", "green") if better else coloured("worse", "red")
        click.echo(f"{by} {clean(after.key) or '(none)'}: {word}, {told(after.rate)} after {told(before.rate)}")
        for command in commands(by, after.key, first, middle):
            click.echo(f"  {clean(command)}")


def commands(by: str, key: str, first: str, middle: str) -> list[str]:
    """The commands that list what failed behind a change: in this span, and in the one before."""
    which = filters(by, key)
    start = f"agentic-watch history --failed -n 0{which}"
    return [f"{start} --since {_short(middle)}", f"{start} --since {_short(first)} --until {_short(middle)}"]


def filters(by: str, key: str) -> str:
    """The options that ask for one group; "" where there are none, as for a model."""
    if by == "repo":
        org, _, repo = key.rpartition("/")
        return (f" --org {shlex.quote(org)}" if org else "") + f" --repo {shlex.quote(repo)}"
    return f" --{by} {shlex.quote(key)}" if by in ("agent", "org", "status", "host", "model") else ""


def _short(utc: str) -> str:
    return f"{utc[:19]}Z"


def _document(source: Source, found: Changes, spans: tuple[str, str, str]) -> dict[str, Any]:
    length, first, middle = spans
    return {
        "schema": documents.SCHEMA,
        "span": length,
        "before_since": first,
        "since": middle,
        "history_since": documents.speaks_from(source) or None,
        "changes": [
            {
                "by": by,
                "key": after.key,
                "better": (after.rate.value or 0) > (before.rate.value or 0),
                "before": document(before),
                "after": document(after),
                "commands": commands(by, after.key, first, middle),
            }
            for by, pairs in found.items()
            for before, after in pairs
        ],
    }
