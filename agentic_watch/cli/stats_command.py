"""`agentic-watch stats`: how well dispatches end and what they cost, by agent, repository, day and the like."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from agentic_watch.answers import documents, spans
from agentic_watch.answers.rates import LEAST_TO_RANK
from agentic_watch.answers.source import Source
from agentic_watch.answers.stats import Group, Stats, compare, document, stats
from agentic_watch.answers.stats_cells import BY, Question
from agentic_watch.cli.answer_options import (
    asking,
    counted,
    filtered,
    outcomes,
    say_nothing_matches,
    say_what_was_read,
    wanted,
)
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import human_duration, on_terminal, print_csv, print_json
from agentic_watch.cli.rate_text import bar, interval, percent, sparkline
from agentic_watch.cli.stats_changes import print_changes
from agentic_watch.cli.table_layout import Column, print_columns

_GROUPS = 20
_BAR = 10
_SPARKS = 60
_COMPARED = ("agent", "model", "repo")
_TIMES = ("day", "week")


@dataclass(frozen=True, slots=True)
class _Form:
    """What is printed, and how: "table", "json", "csv" or "html"; `limit` counts groups (0: all)."""

    name: str
    limit: int


@click.command("stats")
@filtered
@click.option("--by", type=click.Choice(list(BY)), help="Group by this; agent unless --compare is given.")
@click.option("--compare", "span", default="", metavar="SPAN", help="What changed against the span before: 14d.")
@click.option(
    "-n", "--limit", type=click.IntRange(0), help="At most so many; 0: all. Default: 20 in a table, else all."
)
@click.option("--html", default="", metavar="FILE", help="Write one self-contained page to send to somebody.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the groups as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(state: State, /, by: str | None, span: str, limit: int | None, html: str, **options: Any) -> None:
    """Tell how many dispatches passed of those judged, by agent or else, what they cost and how long they took.

    Passed are completed, merged and ready-for-review, failed are failed and rejected; blocked ones wait, others are
    not judged. The interval is the range in which the true rate lies in 95 of 100 cases; below 20 judged dispatches
    it is shown and not ranked. First try is the rate of the first runs alone.

    \b
    Examples:
      agentic-watch stats --by agent --since 30d --repo billing
      agentic-watch stats --compare 14d
    """
    form = _form(options, html, span, limit)
    asked = wanted(options)
    question = Question(
        asked, by or "agent", outcomes(state), utc=options["utc"] or options["as_json"] or options["as_csv"]
    )
    if span:
        _compare(state, question, span, [by] if by else _COMPARED, as_json=options["as_json"])
        return
    with asking(state) as source:
        found = stats(source, question)
        if html:
            from agentic_watch.cli.stats_page import write

            write(html, source, question, found, stats(source, replace(question, by="day")))
        elif form.name == "json":
            print_json(_document(source, question, found, form.limit))
        elif form.name == "csv":
            print_csv(tuple(_flat(found.total)), map(_flat, _limited(question, found, form.limit)))
        elif not found.total.dispatches:
            say_nothing_matches(source, asked, utc=options["utc"])
        else:
            _print(source, question, found, form)


def _form(options: dict[str, Any], html: str, span: str, limit: int | None) -> _Form:
    """The one form that is asked for. Raises click.UsageError for more of them, or for what it cannot honour."""
    given = {"--json": options["as_json"], "--csv": options["as_csv"], "--html": bool(html)}
    chosen = [name for name, is_given in given.items() if is_given]
    if span and (unfit := [*(name for name in chosen if name != "--json"), *(["-n"] if limit is not None else [])]):
        raise click.UsageError(f"--compare and {unfit[0]} do not go together")
    if len(chosen) > 1 or (html and limit is not None):
        raise click.UsageError(f"{' and '.join([*chosen, '-n'][:2])} do not go together")
    name = chosen[0].removeprefix("--") if chosen else "table"
    return _Form(name, limit if limit is not None else _GROUPS if name == "table" else 0)


def _limited(question: Question, found: Stats, limit: int) -> list[Group]:
    """Of times the newest, else the first ones."""
    return found.groups if not limit else found.groups[-limit:] if question.by in _TIMES else found.groups[:limit]


def _compare(state: State, question: Question, span: str, keys: Sequence[str], *, as_json: bool) -> None:
    if question.wanted.since or question.wanted.until:
        raise click.UsageError("--compare has spans of its own; leave --since and --until")
    now = time.time()
    try:
        seconds = spans.length(span)
        begins = (span, spans.at(now - 2 * seconds), spans.at(now - seconds))
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{span!a} is no span such as 24h, 14d, 4w", param_hint="--compare") from error
    with asking(state) as source:
        found = {key: compare(source, Question(question.wanted, key, question.outcomes), seconds, now) for key in keys}
        print_changes(source, found, begins, as_json=as_json)


def _document(source: Source, question: Question, found: Stats, limit: int) -> dict[str, Any]:
    return {
        **documents.head(source, question.wanted, found.total.dispatches),
        "by": question.by,
        "total": document(found.total),
        "count": len(found.groups),
        "groups": [{"key": group.key, **document(group)} for group in _limited(question, found, limit)],
    }


def _print(source: Source, question: Question, found: Stats, form: _Form) -> None:
    groups = _limited(question, found, form.limit)
    print_columns(_columns(question.by), [*map(_cells, groups), _cells(found.total, "all")])
    if not all(group.rate.ranked for group in groups):
        click.echo(f"* fewer than {LEAST_TO_RANK} judged: shown, not ranked")
    if len(groups) < len(found.groups):
        click.echo(f"{len(groups)} of {len(found.groups)} are shown; -n 0 shows all", err=True)
    if on_terminal() and question.by in _TIMES:
        click.echo(f"dispatches  {sparkline([group.dispatches for group in found.groups], _SPARKS)}")
    looked_at = counted(found.total.dispatches, "dispatch")
    say_what_was_read(source, question.wanted, looked_at, utc=question.utc)


def _columns(by: str) -> list[Column]:
    return [
        Column(by.upper(), least=14, path=by == "repo"),
        Column("DISPATCHES", number=True, goes=3),
        Column("PASSED/JUDGED", number=True),
        Column("RATE", number=True),
        Column("95 %", number=True, goes=4),
        *([Column("", goes=11)] if on_terminal() else []),
        Column("FIRST TRY", number=True, goes=5),
        Column("WAITING", number=True, goes=8),
        Column("UNJUDGED", number=True, goes=9),
        Column("MEDIAN", number=True, goes=2),
        Column("P90", number=True, goes=6),
        Column("FINDINGS", number=True, goes=7),
        Column("LINES", number=True, goes=10),
        Column("MERGED", number=True, goes=12),
        Column("TO MERGED", number=True, goes=13),
    ]


def _cells(group: Group, name: str | None = None) -> list[str]:
    rate = group.rate
    key = name or group.key or "(none)"
    return [
        key if rate.ranked or name else f"{key} *",
        f"{group.dispatches:,}",
        f"{rate.passed:,}/{rate.judged:,}",
        percent(rate.value),
        interval(rate),
        *([bar(rate.value, _BAR)] if on_terminal() else []),
        percent(group.first_try.value),
        f"{group.outcomes['waiting']:,}",
        f"{group.outcomes['unjudged']:,}",
        human_duration(group.median_ms),
        human_duration(group.p90_ms),
        f"{group.findings:.1f}",
        "" if group.lines is None else f"{group.lines:.0f}",
        f"{group.merged:,}",
        human_duration(group.merged_ms),
    ]


def _flat(group: Group) -> dict[str, Any]:
    """A group as one row of CSV."""
    flat: dict[str, Any] = {}
    for name, value in {"key": group.key, **document(group)}.items():
        flat |= {f"{name}_{part}": one for part, one in value.items()} if isinstance(value, dict) else {name: value}
    return flat
