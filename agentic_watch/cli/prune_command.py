"""`agentic-watch prune`: old dispatches into an archive, and out of the history."""

from __future__ import annotations

import time

import click

from agentic_watch.answers import spans
from agentic_watch.answers.documents import SCHEMA
from agentic_watch.answers.spans import Clock
from agentic_watch.cli.exit_status import Interrupted, Refused
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, print_json
from agentic_watch.cli.progress import progress
from agentic_watch.exchange import pruning
from agentic_watch.exchange.exchange_errors import ExchangeError
from agentic_watch.exchange.pruning import Old
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History
from agentic_watch.workspace import instant


@click.command("prune")
@click.option("--older-than", required=True, metavar="SPAN", help="Age, such as 180d or 26w.")
@click.option("--archive", metavar="FILE", help="File to write them to (default: next to the history).")
@click.option("--dry-run", is_flag=True, help="Print what would be removed; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(state: State, older_than: str, archive: str | None, dry_run: bool, as_json: bool) -> None:
    """Write dispatches whose last update is older than SPAN to an archive, and remove them from the history.

    Journals and markers do not bring pruned dispatches back; `agentic-watch import ARCHIVE` does. Safe while the
    daemon runs. The file does not shrink, its free space is reused; `backup` makes a smaller copy.

    \b
    Examples:
      agentic-watch prune --older-than 180d --dry-run
      agentic-watch prune --older-than 52w --archive /backup/2025.jsonl
    """
    path = state.config_to_read().history
    started = time.monotonic()
    try:
        before = Clock(time.time(), utc=True).ago(spans.length(older_than))
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{older_than!r} is not a span such as 180d or 26w", param_hint="--older-than"
        ) from error
    try:
        found = pruning.old(path, before)
        target = archive or f"{path}.pruned-{instant.stamp()}.jsonl"
        if found.commits and not dry_run:
            _prune(path, found, target)
    except (HistoryError, ExchangeError) as error:
        raise Refused(str(error)) from error
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted: nothing was pruned") from error
    written = target if found.commits and not dry_run else None
    _tell(found, written, dry_run=dry_run, as_json=as_json, seconds=time.monotonic() - started)


def _prune(path: str, found: Old, target: str) -> None:
    done = 0
    with progress("archive", found.commits) as tell:

        def on_progress(count: int) -> None:
            nonlocal done
            done += count
            tell(done)

        pruning.archive(path, found, target, on_progress)
    history = History(path)
    try:
        with progress("delete", found.commits) as tell:
            pruning.remove(history, found, tell)
    finally:
        history.close()


def _tell(found: Old, written: str | None, *, dry_run: bool, as_json: bool, seconds: float) -> None:
    if as_json:
        print_json(
            {
                "schema": SCHEMA,
                "dry_run": dry_run,
                "before": found.before,
                "commits_count": found.commits,
                "findings_count": found.findings,
                "first_utc": found.first or None,
                "last_utc": found.last or None,
                "archive": written,
                "seconds": round(seconds, 3),
            }
        )
        return
    if not found.commits:
        click.echo(f"nothing is older than {found.before[:19]}Z")
        return
    span = f"of {found.first[:10]} to {found.last[:10]}"
    does = "would be removed" if dry_run else "removed"
    where = f", archived in {written}" if written else ""
    click.echo(clean(f"{found.commits:,} commits and {found.findings:,} findings {span} {does}{where}"))
