"""`agentic-watch digest`: half a page of Markdown for a stand-up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from agentic_watch.answers.past import dispatch_list
from agentic_watch.answers.past.costs import COST
from agentic_watch.answers.past.digest import MOST, Digest, digest
from agentic_watch.answers.past.failures import FailureClass
from agentic_watch.answers.past.filters import Filter
from agentic_watch.answers.past.sql_dialects import Source
from agentic_watch.answers.past.stats import Group
from agentic_watch.cli import value_texts
from agentic_watch.cli.answer_options import asking, filtered, outcomes, wanted
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, print_json
from agentic_watch.cli.value_texts import cost_text, dollars, human_duration, percent, rate_text, shorten, tokens_text

_TEXT = 100
_SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\`*_<>[]|#"})


@click.command("digest")
@filtered
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(state: State, /, as_json: bool, **options: Any) -> None:
    """Print half a page of Markdown: what ended since yesterday (or --since), why it failed, who waits, what is new.

    \b
    Examples:
      agentic-watch digest
      agentic-watch digest --since 7d --org acme
    """
    asked = wanted({**options, "since": options["since"] or "yesterday"})
    with asking(state) as source:
        found = digest(source, asked, outcomes(state), time.time())
        if as_json:
            print_json(found.document(source, asked))
            return
        for line in _lines(source, asked, found, utc=options["utc"]):
            click.echo(line)


def _lines(source: Source, asked: Filter, found: Digest, *, utc: bool) -> Iterator[str]:
    total = found.stats.total
    until = value_texts.time_text(asked.until, as_utc=utc) or "now"
    yield f"## Dispatches from {value_texts.time_text(asked.since, as_utc=utc)} until {until}"
    yield ""
    if not total.dispatches:
        first = value_texts.time_text(dispatch_list.oldest(source), as_utc=utc)
        yield f"None ended; history starts at {first}." if first else "The history is empty."
        return
    counts = total.outcomes
    yield (
        f"**{total.dispatches:,} ended**: {counts['passed']:,} passed, {counts['failed']:,} failed, "
        f"{counts['waiting']:,} wait{'s' * (counts['waiting'] == 1)}, {counts['unjudged']:,} not judged. "
        f"Passed of those judged: {rate_text(total.rate)}, "
        f"{_before(found)}. Median {human_duration(total.median_ms) or 'unknown'}, "
        f"{total.findings:.1f} findings each."
    )
    if used := _used(total):
        yield from ("", used)
    yield from _section("By agent", [_agent(group) for group in found.stats.groups[:MOST]])
    yield from _section("Why they failed or wait", [_class(one) for one in found.classes])
    yield from _section(
        "Waiting for an answer",
        [_waiting(row) for row in found.waiting],
    )
    news = [f"{_text(it.repo)}: {_text(it.tool)} {_text(it.rule)} in {_text(it.file)}" for it in found.new_findings]
    yield from _section(f"New findings: {found.new_count:,}" if found.new_count else "", news)


def _used(total: Group) -> str:
    """The total usage and for how many it is known; "" when unknown for all."""
    cost, tokens = cost_text(total.used[COST], total.dispatches), tokens_text(total.used, total.dispatches)
    each = f"; {dollars(total.per_passed)} per passed" if total.per_passed is not None else ""
    return " ".join([*([f"Cost {cost}{each}."] if cost else []), *([f"Tokens {tokens}."] if tokens else [])])


def _before(found: Digest) -> str:
    return f"before {percent(found.before.value)}" if found.before.judged else "none judged before"


def _section(title: str, items: list[str]) -> Iterator[str]:
    if items:
        yield from ("", f"### {title}", "", *(f"- {item}" for item in items))


def _agent(group: Group) -> str:
    few = "" if group.rate.ranked else ", too few to rank"
    cost = cost_text(group.used[COST], group.dispatches)
    each = f", {dollars(group.per_passed)} per passed" if group.per_passed is not None else ""
    told_of = f"{rate_text(group.rate)}{few}, median {human_duration(group.median_ms) or '?'}"
    return f"{_text(group.key) or '(none)'}: {told_of}{f', cost {cost}{each}' if cost else ''}"


def _waiting(row: dict[str, Any]) -> str:
    return f"{_text(row['workspace'])} ({_text(row['agent'])}): {_text(row['question']) or 'no question'}"


def _class(one: FailureClass) -> str:
    host = f" (the host: {one.cause})" if one.fault == "host" else ""
    return f"{one.count:,} × {_text(one.name)}{host}, such as {_text(one.examples[0]['workspace'])}"


def _text(text: str) -> str:
    """An agent's text as one short line with Markdown escaped."""
    return clean(shorten(text, _TEXT)).translate(_SPECIAL)
