"""`agentic-watch prune`: moves old dispatches from the history to an archive."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType

import click

from agentic_watch import counted
from agentic_watch.answers.answer_shape import SCHEMA
from agentic_watch.answers.past.time_spans import Clock
from agentic_watch.cli import messages
from agentic_watch.cli.exit_status import Interrupted, Refused
from agentic_watch.cli.global_options import State
from agentic_watch.cli.messages import progress
from agentic_watch.cli.output import clean, print_json
from agentic_watch.config import Config
from agentic_watch.config.value_checks import span_seconds
from agentic_watch.exchange import ExchangeError, pruning
from agentic_watch.exchange.pruning import Old, default_path
from agentic_watch.history import HistoryError, opening
from agentic_watch.history.store import History
from agentic_watch.host.new_file import remove_leftovers
from agentic_watch.inventory.renamed_roots import refuse_renamed

_DAY = 86_400


@dataclass(slots=True)
class _Pruning:
    """The options and the progress; `archive` is the file once it is complete."""

    before: str
    target: str
    force: bool
    dry_run: bool
    recovered_rows: int = 0
    archive: str | None = None
    deleted: int = 0


@click.command("prune")
@click.option("--older-than", required=True, metavar="SPAN", help="Age, such as 180d, 26w or 6mo (months of 30 days).")
@click.option("--archive", metavar="FILE", help="File to write them to (default: next to the history).")
@click.option("--force", is_flag=True, help="Prune even if a root is missing or a [[push]] target lacks commits.")
@click.option("--yes", is_flag=True, help="Do not ask before pruning with a SPAN of less than a day.")
@click.option("--dry-run", is_flag=True, help="Print what would be removed; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(
    state: State, older_than: str, archive: str | None, force: bool, yes: bool, dry_run: bool, as_json: bool
) -> None:
    """Write dispatches whose last update is older than SPAN to an archive, and remove them from the history.

    Commits that only the journals of the roots have are added to the history first. Nothing is removed while a root
    is missing or a [[push]] target lacks one of the commits; each is named. The archive is a file, never stdout: it
    must be on disk before anything is removed. Journals and markers do not bring pruned dispatches back;
    `agentic-watch import ARCHIVE` does. Safe while the daemon runs. The file does not shrink, its free space is
    reused; `backup` makes a smaller copy.

    \b
    Examples:
      agentic-watch prune --older-than 180d --dry-run
      agentic-watch prune --older-than 12mo --archive /backup/2025.jsonl
    """
    config = state.config_to_read()
    refuse_renamed(config)
    started = time.monotonic()
    before = _before(older_than, asks=not (yes or dry_run))
    if archive == "-":
        raise click.BadParameter("must be a file; `agentic-watch export` prints to stdout", param_hint="--archive")
    work = _Pruning(before, archive or default_path(config.history), force, dry_run)
    _take_signals()
    try:
        found = _prune(config, work)
    except (HistoryError, ExchangeError) as error:
        raise Refused(f"{error}{_so_far(work)}") from error
    except KeyboardInterrupt as error:
        raise Interrupted(f"interrupted{_so_far(work) or ': nothing was pruned'}") from error
    _tell(found, work, as_json=as_json, seconds=time.monotonic() - started)


def _take_signals() -> None:
    """Handle SIGTERM like Ctrl-C: a service manager sends it to all processes of the daemon's unit."""
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt once: a second signal must not stop the removal of the unfinished file."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _before(older_than: str, *, asks: bool) -> str:
    """The time before which dispatches are pruned, in the format of `updated_utc`."""
    try:
        seconds = span_seconds(older_than)
        before = Clock(time.time(), utc=True).ago(seconds)
    except (ValueError, OverflowError) as error:
        text = f"{older_than!r} is not a span such as 180d, 26w or 6mo"
        raise click.BadParameter(text, param_hint="--older-than") from error
    if seconds < _DAY and asks:
        text = f"{older_than} is less than a day (m: minutes, mo: months): it removes nearly all dispatches"
        if not sys.stdin.isatty():
            raise click.BadParameter(f"{text}; confirm with --yes", param_hint="--older-than")
        click.confirm(f"{text}. Go on?", abort=True, err=True)
    return before


def _prune(config: Config, work: _Pruning) -> Old:
    unread: Sequence[str]
    if work.dry_run:
        found, unread = pruning.old(config.history, work.before), pruning.away(config)
    else:
        with opening.reading(config.history):
            pass  # raises if there is no history, which a writer would create
        with contextlib.suppress(OSError):
            remove_leftovers(os.path.dirname(config.history))  # of killed ones
        unread = _take_in(config, work)
        found = pruning.old(config.history, work.before)
    if not found.commits:
        return found
    _refuse_losses(work, [*unread, *pruning.undelivered(config, found)])
    if not work.dry_run:
        _archive_and_delete(config.history, work, found)
    return found


def _take_in(config: Config, work: _Pruning) -> Sequence[str]:
    """Insert rows that only journals have; returns why journals could not be read, one line each."""
    history = History(config.history)
    try:
        with progress("workspaces", 0) as tell:
            taken = pruning.take_in(config, history, tell)
    finally:
        history.close()
    work.recovered_rows = taken.recovered_rows
    return taken.unread


def _refuse_losses(work: _Pruning, losses: Sequence[str]) -> None:
    level, prefix = (messages.WARNING, "warning: ") if work.force or work.dry_run else (messages.ERROR, "failed: ")
    for text in losses:
        messages.tell(level, text, prefix)
    if losses and not work.force and not work.dry_run:
        raise ExchangeError("nothing was pruned: fix the problems above, or prune anyway with --force")


def _archive_and_delete(path: str, work: _Pruning, found: Old) -> None:
    done = 0
    with progress("archive", found.commits) as tell:

        def on_progress(count: int) -> None:
            nonlocal done
            done += count
            tell(done)

        pruning.archive(path, found, work.target, on_progress)
    work.archive = work.target
    history = History(path)
    try:
        with progress("delete", found.commits) as tell:

            def on_deleted(count: int) -> None:
                work.deleted = count
                tell(count)

            pruning.remove(history, found, on_deleted)
    finally:
        history.close()


def _so_far(work: _Pruning) -> str:
    """The progress at an interruption; "" when nothing was deleted yet."""
    if work.archive is None:
        return ""
    return f": {counted(work.deleted, 'commit')} removed, archived in {work.archive}; run it again for the rest"


def _tell(found: Old, work: _Pruning, *, as_json: bool, seconds: float) -> None:
    if as_json:
        print_json(
            {
                "schema": SCHEMA,
                "dry_run": work.dry_run,
                "before": found.before,
                "recovered_count": work.recovered_rows,
                "commits_count": found.commits,
                "findings_count": found.findings,
                "first_utc": found.first or None,
                "last_utc": found.last or None,
                "archive": work.archive,
                "seconds": round(seconds, 3),
            }
        )
        return
    if work.recovered_rows:
        messages.tell(messages.INFO, f"{counted(work.recovered_rows, 'row')} recovered from journals")
    if not found.commits:
        click.echo(f"nothing is older than {found.before[:19]}Z")
        return
    span = f"of {found.first[:10]} to {found.last[:10]}"
    does = "would be removed" if work.dry_run else "removed"
    where = f", archived in {work.archive}" if work.archive else ""
    click.echo(
        clean(f"{counted(found.commits, 'commit')} and {counted(found.findings, 'finding')} {span} {does}{where}")
    )
