"""`agentic-watch failures`: why dispatches fail or block, by class."""

from __future__ import annotations

from typing import Any

import click

from agentic_watch.answers import documents
from agentic_watch.answers.failures import FailureClass, Failures, failures
from agentic_watch.cli import clock_times
from agentic_watch.cli.answer_options import (
    asking,
    counted,
    filtered,
    one_form,
    outcomes,
    say_nothing_matches,
    say_what_was_read,
    wanted,
)
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, print_csv, print_json, shorten
from agentic_watch.cli.table_layout import Column, print_columns

_EXAMPLE = 200
_COLUMNS = (
    Column("COUNT", number=True),
    Column("WAITING", number=True, goes=3),
    Column("REPOS", number=True, goes=4),
    Column("CAUSE", goes=2),
    Column("WHY", least=20),
    Column("NEWEST EXAMPLE", least=12, path=True, goes=1),
)


@click.command("failures")
@filtered
@click.option("-n", "--limit", default=20, show_default=True, type=click.IntRange(0), help="At most so many; 0: all.")
@click.option("--examples", is_flag=True, help="Below each class its newest examples, word for word.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the classes as CSV.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, with examples.")
@click.pass_obj
def command(state: State, /, limit: int, examples: bool, as_csv: bool, as_json: bool, **options: Any) -> None:
    """Tell why dispatches failed or wait, by class: questions and failing verdicts without what differs each time.

    What looks like the host's fault (rate limit, credentials, disk, network, killed, out of memory) stands apart.

    \b
    Examples:
      agentic-watch failures --since 7d
      agentic-watch failures --since today --repo billing --examples
    """
    one_form(as_json=as_json, as_csv=as_csv)
    asked = wanted(options)
    with asking(state) as source:
        found = failures(source, asked, outcomes(state))
        shown = found.classes[: limit or None]
        if as_json:
            head = documents.head(source, asked, found.failed + found.waiting)
            counts = {"failed": found.failed, "waiting": found.waiting, "classes": len(found.classes)}
            print_json({**head, **counts, "failures": [one.document() for one in shown]})
        elif as_csv:
            print_csv(tuple(FailureClass("", "agent", "").document()), [one.document() for one in shown])
        elif not found.classes:
            say_nothing_matches(source, asked, utc=options["utc"])
        else:
            _print(shown, found, examples=examples, utc=options["utc"])
            looked_at = counted(found.failed + found.waiting, "dispatch")
            say_what_was_read(source, asked, looked_at, utc=options["utc"])


def _print(shown: list[FailureClass], found: Failures, *, examples: bool, utc: bool) -> None:
    click.echo(f"{found.failed:,} failed, {found.waiting:,} wait{'s' * (found.waiting == 1)} for an answer")
    for fault, title in (("agent", "the agents'"), ("host", "the host's, as it looks")):
        classes = [one for one in shown if one.fault == fault]
        if not classes:
            continue
        click.echo(f"\n{title}: {sum(one.count for one in found.classes if one.fault == fault):,}")
        columns = [column for column in _COLUMNS if fault == "host" or column.header != "CAUSE"]
        if not examples:
            print_columns(columns, [_cells(one, fault) for one in classes])
            continue
        for one in classes:
            print_columns(columns[:-1], [_cells(one, fault)[:-1]])
            _print_examples(one, utc=utc)
    if len(shown) < len(found.classes):
        click.echo(f"{len(shown)} of {len(found.classes)} classes are shown; -n 0 shows all", err=True)


def _cells(one: FailureClass, fault: str) -> list[str]:
    counts = [f"{one.count:,}", f"{one.waiting:,}", f"{len(one.repositories):,}"]
    return [*counts, *([one.cause] if fault == "host" else []), one.name, one.examples[0].workspace]


def _print_examples(one: FailureClass, *, utc: bool) -> None:
    for example in one.examples:
        when = clock_times.one(example.updated_utc, as_utc=utc)
        text = clean(shorten(example.text, _EXAMPLE))
        click.echo(f"    {when}  {clean(example.workspace)}  {clean(example.agent)}{f': {text}' if text else ''}")
