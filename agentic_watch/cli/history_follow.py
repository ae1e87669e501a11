"""`agentic-watch history --follow`: rows as they are committed, in each form that `history` has."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click
from click.core import ParameterSource

from agentic_watch.answers import documents
from agentic_watch.answers.past import listing
from agentic_watch.answers.past.filters import Filter
from agentic_watch.cli import messages
from agentic_watch.cli.answer_form import Form
from agentic_watch.cli.answer_options import counted
from agentic_watch.cli.exit_status import Interrupted
from agentic_watch.cli.global_options import State
from agentic_watch.cli.history_table import expressions, table
from agentic_watch.cli.output import line_width, on_terminal, print_csv, print_json_lines
from agentic_watch.cli.table_layout import RunningTable
from agentic_watch.history.columns import TABLE_COLUMNS
from agentic_watch.waiting.followed_rows import Following


def follow(state: State, asked: Filter, form: Form, named: Sequence[str], *, utc: bool) -> None:
    """Print rows until Ctrl-C, until nobody reads them, or until there were as many as -n says."""
    if state.fleet:
        raise click.UsageError("--follow tells of this host's history; it excludes --fleet")
    config = state.config_to_read()
    is_limited = click.get_current_context().get_parameter_source("limit") is ParameterSource.COMMANDLINE
    limit = form.limit if is_limited else 0
    if not os.path.exists(config.history):
        messages.tell(messages.INFO, f"no history at {config.history} yet; waiting for it")
    following = Following(config.history, asked, expressions(form, named))
    following.begin()
    printed = itertools.count()
    batches = _limited(following.batches(sys.stdout.fileno()), limit, printed)
    try:
        if form.name == "table":
            _print_tables(batches, named, one_root=len(config.roots) <= 1, utc=utc)
        else:
            rows = (listing.document(row) for batch in batches for row in batch)
            if form.name == "json":
                print_json_lines(map(documents.absent_as_null, rows))
            else:
                print_csv(named or TABLE_COLUMNS, rows)
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted; {counted(next(printed), 'commit')} since the start") from error


def _limited(
    batches: Iterator[list[dict[str, Any]]], limit: int, printed: Iterator[int]
) -> Iterator[list[dict[str, Any]]]:
    """The batches, up to so many rows (0: all); `printed` counts the rows."""
    left = limit
    for batch in batches:
        some = batch[:left] if limit else batch
        for _ in some:
            next(printed)
        yield some
        left -= len(some)
        if limit and not left:
            return


def _print_tables(batches: Iterator[list[dict[str, Any]]], named: Sequence[str], *, one_root: bool, utc: bool) -> None:
    """Print the header at once, but where it has the zone of times that are still to come."""
    running = RunningTable(line_width())
    for batch in batches if on_terminal() and not utc else itertools.chain([[]], batches):
        columns, rows = table(batch, named, one_root=one_root, utc=utc)
        for line in running.lines(columns, rows):
            click.echo(line)
