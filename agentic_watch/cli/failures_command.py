"""`agentic-watch failures`: why dispatches fail or block, by cause."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from agentic_watch import counted
from agentic_watch.answers.past.failures import FailureClass, Failures, failures
from agentic_watch.cli import value_texts
from agentic_watch.cli.answer_options import (
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
from agentic_watch.cli.output import clean
from agentic_watch.cli.table_layout import Column, print_table
from agentic_watch.cli.value_texts import cost_cell, cost_text, shorten

_EXAMPLE = 200
_CAUSE = Column("CAUSE", lambda one: one.cause, goes=2)
_COST = Column("COST", lambda one: cost_cell(one.cost, one.count), number=True, goes=3)
_NEWEST = Column("NEWEST EXAMPLE", lambda one: one.examples[0]["workspace"], least=12, path=True, goes=1)
_COLUMNS = (
    Column("COUNT", lambda one: f"{one.count:,}", number=True),
    Column("WAITING", lambda one: f"{one.waiting:,}", number=True, goes=4),
    Column("REPOS", lambda one: f"{len(one.repositories):,}", number=True, goes=5),
    _COST,
    _CAUSE,
    Column("WHY", lambda one: one.name, least=20),
    _NEWEST,
)


@click.command("failures")
@filtered
@click.option("--examples", is_flag=True, help="Show the newest examples of each group in full.")
@formed("Print one JSON document, with examples.")
@click.pass_obj
def command(state: State, /, examples: bool, **options: Any) -> None:
    """Show why dispatches failed or wait, grouped by cause, with paths, numbers and hashes normalised.

    What looks like the host's fault (rate limit, credentials, disk, network, killed, out of memory) is listed
    separately.

    \b
    Examples:
      agentic-watch failures --since 7d
      agentic-watch failures --since today --repo billing --examples
    """
    form, asked = form_of(options), wanted(options)
    with asking(state) as source:
        found = failures(source, asked, outcomes(state))
        if form.name != "table":
            print_answer(form, found.answer(source, asked))
        elif not found.classes:
            say_nothing_matches(source, asked, utc=options["utc"])
        else:
            shown = form.cut(found.classes)
            _print(shown, found, examples=examples, utc=options["utc"])
            examined = counted(found.failed + found.waiting, "dispatch")
            say_what_was_read(source, asked, examined, utc=options["utc"])
            say_cut(len(shown), len(found.classes))


def _print(shown: Sequence[FailureClass], found: Failures, *, examples: bool, utc: bool) -> None:
    cost = cost_text(found.cost, found.failed + found.waiting)
    counts = f"{found.failed:,} failed, {found.waiting:,} wait{'s' * (found.waiting == 1)} for an answer"
    click.echo(f"{counts}; they cost {cost}" if cost else counts)
    for fault, title in (("agent", "agent failures"), ("host", "likely host failures")):
        classes = [one for one in shown if one.fault == fault]
        if not classes:
            continue
        click.echo(f"\n{title}: {sum(one.count for one in found.classes if one.fault == fault):,}")
        left_out = {_CAUSE: fault == "agent", _COST: not any(one.cost.known for one in classes), _NEWEST: examples}
        columns = [column for column in _COLUMNS if not left_out.get(column)]
        if not examples:
            print_table(columns, classes)
            continue
        for one in classes:
            print_table(columns, [one])
            _print_examples(one, utc=utc)


def _print_examples(one: FailureClass, *, utc: bool) -> None:
    for example in one.examples:
        when = value_texts.time_text(example["updated_utc"], as_utc=utc)
        text = clean(shorten(example["text"] or "", _EXAMPLE))
        who = f"{clean(example['workspace'])}  {clean(example['agent'] or '')}"
        click.echo(f"    {when}  {who}{f': {text}' if text else ''}")
