"""`agentic-watch export`: the history in the form that import reads, or as CSV."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from typing import Any

import click

from agentic_watch.cli import messages
from agentic_watch.cli.exit_status import Interrupted, Refused
from agentic_watch.cli.global_options import State
from agentic_watch.cli.messages import progress
from agentic_watch.cli.output import csv_cell
from agentic_watch.exchange import ExchangeError, exporting
from agentic_watch.exchange.exporting import Cursor
from agentic_watch.fleet import interchange
from agentic_watch.fleet.interchange import Commit
from agentic_watch.history.columns import HISTORY_COLUMNS

_COLUMNS = ("id", *HISTORY_COLUMNS)
Write = Callable[[Commit], Any]


class _Cursor(click.ParamType[Cursor]):
    """A cursor as the last export printed it."""

    name = "cursor"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Cursor:
        """From text."""
        if isinstance(value, Cursor):
            return value
        try:
            return exporting.cursor(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("export")
@click.option(
    "--after", type=_Cursor(), default=Cursor(), metavar="CURSOR", help="Only what was added after this cursor."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, with a header, instead of JSON lines.")
@click.option("--with-files", is_flag=True, help="Include the kept files of each dispatch, as archives do.")
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), default="jsonl", hidden=True)
@click.pass_obj
def command(state: State, after: Cursor, as_csv: bool, with_files: bool, form: str) -> None:
    """Print every commit of the history, in the order in which they were added.

    As JSON lines: the journal's record with host_id, host, root and commit_id, findings and report. The last line on
    stderr names the CURSOR from which the next export continues. Safe while the daemon runs; changes nothing.

    \b
    Examples:
      agentic-watch export > all.jsonl
      agentic-watch export --csv --after 4711 > new.csv
    """
    as_csv = as_csv or form == "csv"
    if with_files and as_csv:
        raise click.UsageError("--with-files excludes --csv")
    history = state.config_to_read().history
    reached, count = after, 0
    try:
        write = _csv_lines() if as_csv else _json_lines(history)
        with progress("commits", exporting.total(history, after)) as tell:
            for page in exporting.pages(history, after, files=with_files):
                for commit in page.commits:
                    write(commit)
                sys.stdout.flush()
                reached, count = page.behind, count + len(page.commits)
                tell(count)
    except ExchangeError as error:
        raise Refused(str(error)) from error
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted: exported {count:,}; --after {reached} continues") from error
    messages.tell(messages.INFO, f"exported {count:,}; next time: --after {reached}")


def _json_lines(history: str) -> Write:
    whose = exporting.host_id(history)
    return lambda commit: sys.stdout.write(f"{interchange.line(interchange.document(commit, whose))}\n")


def _csv_lines() -> Write:
    writer = csv.writer(sys.stdout)
    writer.writerow(_COLUMNS)
    return lambda commit: writer.writerow([csv_cell(commit.columns[name]) for name in _COLUMNS])
