"""`agentic-watch export`: the history as JSON lines, which import reads, or as CSV."""

from __future__ import annotations

import csv
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import click

from agentic_watch.cli import messages
from agentic_watch.cli.exit_status import Interrupted, Refused, finishing_what_is_in_hand
from agentic_watch.cli.global_options import State
from agentic_watch.cli.messages import progress
from agentic_watch.cli.output import csv_cell
from agentic_watch.exchange import ExchangeError, exporting
from agentic_watch.exchange.exporting import Cursor, Pages
from agentic_watch.fleet.interchange import Commit
from agentic_watch.history.columns import HISTORY_COLUMNS

_COLUMNS = ("id", *HISTORY_COLUMNS)


class _Cursor(click.ParamType[Cursor]):
    """A cursor printed by an earlier export."""

    name = "cursor"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Cursor:
        """Parse a cursor."""
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
@click.pass_obj
def command(state: State, after: Cursor, as_csv: bool, with_files: bool) -> None:
    """Print every commit of the history, in the order in which they were added.

    As JSON lines: the journal's record with host_id, host, root and commit_id, findings and report. The last line on
    stderr names the CURSOR from which the next export continues. Safe while the daemon runs; changes nothing.

    \b
    Examples:
      agentic-watch export > all.jsonl
      agentic-watch export --csv --after 4711 > new.csv
    """
    if with_files and as_csv:
        raise click.UsageError("--with-files excludes --csv")
    history = state.config_to_read().history
    reached, count, ended = after, 0, threading.Event()
    try:
        pages: Pages[Any] = (
            exporting.commits(history, after) if as_csv else exporting.lines(history, after, files=with_files)
        )
        write = _csv_rows() if as_csv else _json_lines
        with (
            progress("commits", exporting.total(history, after)) as tell,
            finishing_what_is_in_hand(ended.set, signal.SIGINT, signal.SIGTERM),
        ):
            for found, behind in pages:
                write(found)
                sys.stdout.flush()
                reached, count = behind, count + len(found)
                tell(count)
                if ended.is_set():
                    raise KeyboardInterrupt
    except ExchangeError as error:
        raise Refused(str(error)) from error
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted: exported {count:,}; --after {reached} continues") from error
    messages.tell(messages.INFO, f"exported {count:,}; next time: --after {reached}")


def _json_lines(lines: Iterable[str]) -> None:
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _csv_rows() -> Callable[[Iterable[Commit]], None]:
    writer = csv.writer(sys.stdout)
    writer.writerow(_COLUMNS)
    return lambda commits: writer.writerows([csv_cell(one.columns[name]) for name in _COLUMNS] for one in commits)
