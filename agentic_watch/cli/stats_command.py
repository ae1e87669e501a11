"""`agentic-watch stats`: pass rates, durations and costs by agent, repository, day and other groups; with --compare,
groups that became better or worse.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from agentic_watch import counted
from agentic_watch.answers import answer_shape
from agentic_watch.answers.answer_shape import Answer
from agentic_watch.answers.past import dispatch_list, time_spans
from agentic_watch.answers.past.costs import COST
from agentic_watch.answers.past.outcomes import LEAST_TO_RANK
from agentic_watch.answers.past.sql_dialects import Source
from agentic_watch.answers.past.stats import NOBODY, Group, Stats, compare, document, keyed, stats
from agentic_watch.answers.past.stats_query import BY, Question
from agentic_watch.cli import messages
from agentic_watch.cli.answer_options import (
    Form,
    asking,
    filtered,
    form_of,
    formed,
    outcomes,
    print_answer,
    say_cut,
    say_nothing_matches,
    say_what_was_read,
    wanted,
)
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, coloured, on_terminal
from agentic_watch.cli.table_layout import Column, print_table
from agentic_watch.cli.value_texts import (
    bar,
    cost_cell,
    dollars,
    human_duration,
    interval,
    number_cell,
    percent,
    rate_text,
    sparkline,
    tokens_cell,
)
from agentic_watch.config.value_checks import span_seconds

Changes = dict[str, list[tuple[Group, Group]]]
"""Changed groups (before, after) by the grouping (agent, model, repo)."""


@dataclass(frozen=True, slots=True)
class Spans:
    """The compared spans: `length` as given, the begins of the previous and the current span, and the end of the
    current one ("": now)."""

    length: str
    before: str
    since: str
    until: str


def print_changes(source: Source, found: Changes, spans: Spans, form: Form) -> None:
    """Print the changes, each with commands that list the failed dispatches."""
    length, middle = spans.length, spans.since
    if form.name != "table":
        _print_rows(source, found, spans, form)
        return
    changes = [(by, before, after) for by, pairs in found.items() for before, after in pairs]
    if not changes:
        speaks = dispatch_list.oldest(source)
        if not speaks:
            messages.tell(messages.INFO, "nothing to compare: the history is empty")
            return
        click.echo(f"no significant change (95 % intervals overlap): the last {length} against the {length} before")
        if speaks > middle:
            click.echo(f"history starts at {_short(speaks)}: there is nothing before the last {length}")
    shown = form.cut(changes)
    for by, before, after in shown:
        word = coloured("better", "green") if _is_better(before, after) else coloured("worse", "red")
        rates = f"{rate_text(after.rate)} after {rate_text(before.rate)}"
        click.echo(f"{by} {clean(after.key) or '(none)'}: {word}, {rates}{_cost(before, after)}")
        for command in commands(by, after.key, spans):
            click.echo(f"  {clean(command)}")
    say_cut(len(shown), len(changes))


def _cost(before: Group, after: Group) -> str:
    """The cost per passed dispatch, if known for both."""
    if before.per_passed is None or after.per_passed is None:
        return ""
    return f"; {dollars(after.per_passed)} per passed after {dollars(before.per_passed)}"


def commands(by: str, key: str, spans: Spans) -> list[str]:
    """The commands that list failed dispatches of a change, in this span and the previous one."""
    which = filters(by, key)
    start = f"agentic-watch history --failed -n 0{which}"
    ends = f" --until {_short(spans.until)}" if spans.until else ""
    return [
        f"{start} --since {_short(spans.since)}{ends}",
        f"{start} --since {_short(spans.before)} --until {_short(spans.since)}",
    ]


def filters(by: str, key: str) -> str:
    """The options that select one group; "" if there are none, as for a model."""
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
        "schema": answer_shape.SCHEMA,
        "span": spans.length,
        "before_since": spans.before,
        "since": spans.since,
        "until": spans.until or None,
        "history_since": dispatch_list.oldest(source) or None,
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


_SPARKS = 60
_COMPARED = ("agent", "model", "repo")
_TIMES = ("day", "week")


@click.command("stats")
@filtered
@click.option(
    "--by", type=click.Choice(list(BY)), help="Group by this (default: agent; --compare: agent, model, repo)."
)
@click.option(
    "--compare", "span", default="", metavar="SPAN", help="Compare the last SPAN (such as 14d) with the one before."
)
@formed()
@click.pass_obj
def command(state: State, /, by: str | None, span: str, **options: Any) -> None:
    """Show pass rate, duration, cost and findings by agent (or --by).

    Passed are completed, merged and ready-for-review; failed are failed and rejected; blocked dispatches wait; others
    are not judged. 95 % is the Wilson confidence interval; groups with fewer than 20 judged are not ranked. FIRST TRY
    counts first runs only.

    COST, TOKENS and TURNS are what the agents' programs reported, (98/103) of how many dispatches. COST/PASSED is the
    cost of all, failed ones too, divided by those that passed; not given when less than 95 % is known. CACHED tokens
    were read from a cache, IN are without them.

    \b
    Examples:
      agentic-watch stats --by agent --since 30d --repo billing
      agentic-watch stats --by pr --since 30d
      agentic-watch stats --compare 14d
    """
    form, asked = form_of(options), wanted(options)
    question = Question(asked, by or "agent", outcomes(state), utc=options["utc"] or form.name != "table")
    if span:
        _compare(state, question, span, [by] if by else _COMPARED, form)
        return
    with asking(state) as source:
        found = stats(source, question)
        if form.name != "table":
            answer = found.answer(source, question)
            if form.name == "csv":
                answer = answer._replace(columns=tuple(flat(found.total)), rows=list(map(flat, found.groups)))
            print_answer(form, answer, last=question.by in _TIMES)
        elif not found.total.dispatches:
            say_nothing_matches(source, asked, utc=options["utc"])
        else:
            _print(source, question, found, form)


def _compare(state: State, question: Question, span: str, keys: Sequence[str], form: Form) -> None:
    if question.wanted.since:
        raise click.UsageError("--compare excludes --since: SPAN says how far it goes back from now, or from --until")
    now = time_spans.seconds_of(question.wanted.until) if question.wanted.until else time.time()
    try:
        seconds = span_seconds(span)
        compared = Spans(span, time_spans.at(now - 2 * seconds), time_spans.at(now - seconds), question.wanted.until)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{span!a} is not a span such as 24h, 14d, 4w", param_hint="--compare") from error
    with asking(state) as source:
        found = {key: compare(source, Question(question.wanted, key, question.outcomes), seconds, now) for key in keys}
        print_changes(source, found, compared, form)


def _print(source: Source, question: Question, found: Stats, form: Form) -> None:
    last = question.by in _TIMES
    groups = form.cut(found.groups, last=last)
    _print_groups(question.by, groups, found.total)
    if question.by != "pr" and not all(group.rate.ranked for group in groups):
        click.echo(f"* fewer than {LEAST_TO_RANK} judged: not ranked")
    say_cut(len(groups), len(found.groups))
    if on_terminal() and last:
        click.echo(f"dispatches  {sparkline([group.dispatches for group in found.groups], _SPARKS)}")
    examined = counted(found.total.dispatches, "dispatch")
    say_what_was_read(source, question.wanted, examined, utc=question.utc)


_BAR = 10


_NUMBERS = (
    Column("DISPATCHES", lambda group: f"{group.dispatches:,}", number=True, goes=4),
    Column("PASSED/JUDGED", lambda group: f"{group.rate.passed:,}/{group.rate.judged:,}", number=True),
    Column("RATE", lambda group: percent(group.rate.value), number=True),
    Column("95 %", lambda group: interval(group.rate), number=True, goes=5),
    Column("", lambda group: bar(group.rate.value, _BAR), goes=14),
    Column("FIRST TRY", lambda group: percent(group.first_try.value), number=True, goes=6),
    Column("WAITING", lambda group: f"{group.outcomes['waiting']:,}", number=True, goes=10),
    Column("UNJUDGED", lambda group: f"{group.outcomes['unjudged']:,}", number=True, goes=12),
    Column("MEDIAN", lambda group: human_duration(group.median_ms), number=True, goes=3),
    Column("P90", lambda group: human_duration(group.p90_ms), number=True, goes=7),
    Column("COST", lambda group: cost_cell(group.used[COST], group.dispatches), number=True, goes=1),
    Column("COST/PASSED", lambda group: dollars(group.per_passed), number=True, goes=2),
    Column("TOKENS IN/CACHED/OUT", lambda group: tokens_cell(group.used, group.dispatches), number=True, goes=8),
    Column("TURNS", lambda group: number_cell(group.used["turns"], group.dispatches), number=True, goes=11),
    Column("FINDINGS/RUN", lambda group: f"{group.findings:.1f}", number=True, goes=9),
    Column("LINES/RUN", lambda group: "" if group.lines is None else f"{group.lines:.0f}", number=True, goes=13),
    Column("MERGED", lambda group: f"{group.merged:,}", number=True, goes=15),
    Column("TO MERGED", lambda group: human_duration(group.merged_ms), number=True, goes=16),
)
_WHERE_KNOWN = ("COST", "COST/PASSED", "TOKENS IN/CACHED/OUT", "TURNS")
"""Columns that are shown only if a value is known."""
_OF_PULL_REQUESTS: Mapping[str, int] = {"MERGED": 2, "RATE": 17, "FIRST TRY": 18, "95 %": 19}
"""Columns for pull requests, which have too few dispatches for rates."""


def _print_groups(by: str, groups: Sequence[Group], total: Group) -> None:
    """Print the groups and their total; a star marks groups that are not ranked."""
    ranked, rows = by != "pr", [*groups, total]

    def name(group: Group) -> str:
        if group is total:
            return "all"
        return f"{group.key or '(none)'}{' *' * (ranked and not group.rate.ranked)}"

    columns = [Column(by.upper(), name, least=14 if ranked else 26, path=by in ("repo", "pr"))]
    for column in _NUMBERS:
        is_known = column.header not in _WHERE_KNOWN or any(map(column.value, rows))
        if is_known and (column.header or on_terminal()):
            goes = column.goes if ranked else _OF_PULL_REQUESTS.get(column.header, column.goes)
            columns.append(column._replace(goes=goes))
    print_table(columns, rows)
