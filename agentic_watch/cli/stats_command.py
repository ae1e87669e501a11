"""`agentic-watch stats`: how well dispatches end, by agent, repository, day and the like."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from agentic_watch.answers import spans
from agentic_watch.answers.rates import LEAST_TO_RANK
from agentic_watch.answers.source import Source
from agentic_watch.answers.stats import Stats, compare, stats
from agentic_watch.answers.stats_cells import BY, Question
from agentic_watch.cli.answer_form import Form, form_of, formed, print_answer, say_cut
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
from agentic_watch.cli.output import on_terminal
from agentic_watch.cli.rate_text import sparkline
from agentic_watch.cli.stats_changes import Spans, flat, print_changes
from agentic_watch.cli.stats_table import print_table
from agentic_watch.config.checks import span_seconds

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
                answer = replace(answer, columns=tuple(flat(found.total)), rows=list(map(flat, found.groups)))
            print_answer(form, answer, last=question.by in _TIMES)
        elif not found.total.dispatches:
            say_nothing_matches(source, asked, utc=options["utc"])
        else:
            _print(source, question, found, form)


def _compare(state: State, question: Question, span: str, keys: Sequence[str], form: Form) -> None:
    if question.wanted.since:
        raise click.UsageError("--compare excludes --since: SPAN says how far it goes back from now, or from --until")
    now = spans.seconds_of(question.wanted.until) if question.wanted.until else time.time()
    try:
        seconds = span_seconds(span)
        compared = Spans(span, spans.at(now - 2 * seconds), spans.at(now - seconds), question.wanted.until)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"{span!a} is not a span such as 24h, 14d, 4w", param_hint="--compare") from error
    with asking(state) as source:
        found = {key: compare(source, Question(question.wanted, key, question.outcomes), seconds, now) for key in keys}
        print_changes(source, found, compared, form)


def _print(source: Source, question: Question, found: Stats, form: Form) -> None:
    last = question.by in _TIMES
    groups = form.cut(found.groups, last=last)
    print_table(question.by, groups, found.total)
    if question.by != "pr" and not all(group.rate.ranked for group in groups):
        click.echo(f"* fewer than {LEAST_TO_RANK} judged: not ranked")
    say_cut(len(groups), len(found.groups))
    if on_terminal() and last:
        click.echo(f"dispatches  {sparkline([group.dispatches for group in found.groups], _SPARKS)}")
    examined = counted(found.total.dispatches, "dispatch")
    say_what_was_read(source, question.wanted, examined, utc=question.utc)
