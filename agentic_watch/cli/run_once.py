"""`--once`: run the backfill, show its progress, print its summary."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType

import click

from agentic_watch.backfill import Backfill, Summary
from agentic_watch.cli import logs, messages
from agentic_watch.cli.exit_status import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_UNCOMMITTABLE
from agentic_watch.cli.global_options import State
from agentic_watch.cli.output import clean, print_json
from agentic_watch.commit import Outcome, Verdict
from agentic_watch.config import Config
from agentic_watch.history.store import History
from agentic_watch.scan import RootUnavailable, scan

log = logging.getLogger("agentic_watch.once")
_RARELY = 50_000
"""Cycles are few here, and looking for them among all that a batch holds takes 3 % of a cold pass."""


def run_once(state: State, *, dry_run: bool, as_json: bool) -> int:
    """One pass over all roots; gives the exit status."""
    config = state.committing()
    logs.set_up(config, state.verbosity, quieter=True)
    gc.set_threshold(_RARELY)
    history = History(config.history, read_only=dry_run)
    tick, end = _progress(config)
    would: list[Outcome] = []
    backfill = Backfill(config, history, lambda outcome: _hear(outcome, would if dry_run else None), tick)
    try:
        with _finishing_what_is_in_hand(backfill):
            summary = backfill.run(dry_run=dry_run)
    finally:
        end()
        history.close()
    for notice in history.notices:
        log.warning(notice)
    if as_json:
        _print_document(summary, would if dry_run else None)
    else:
        _print(summary, would if dry_run else None)
    return _exit_status(summary)


def _exit_status(summary: Summary) -> int:
    if summary.interrupted:
        return EXIT_INTERRUPTED
    if all(failure.lies_in_workspace for failure in summary.failures):
        return EXIT_UNCOMMITTABLE if summary.failures else 0
    return EXIT_FAILED


@contextlib.contextmanager
def _finishing_what_is_in_hand(backfill: Backfill) -> Iterator[None]:
    """Ctrl-C ends the pass when what is in hand is done; a second one ends it as a kill does, which is safe."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        backfill.stop()
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _hear(outcome: Outcome, would: list[Outcome] | None) -> None:
    """What became of one workspace; `would` collects what a dry run would commit."""
    name = outcome.candidate.name
    for warning in outcome.warnings:
        log.warning("%s: %s", name, warning)
    if outcome.verdict is not Verdict.COMMITTED:
        return
    log.info("%s: %s", name, "committed" if would is None else "would be committed")
    if would is not None:
        would.append(outcome)


def _print_document(summary: Summary, would: list[Outcome] | None) -> None:
    document = dataclasses.asdict(summary)
    if not summary.interrupted:
        del document["interrupted"]
    for failure in document["failures"]:
        failure["workspace"] = clean(failure["workspace"])
        del failure["lies_in_workspace"]
    if would is not None:
        document["would_commit"] = [
            {"root": outcome.candidate.root.key, "workspace": outcome.candidate.name} for outcome in would
        ]
    print_json(document)


def _print(summary: Summary, would: list[Outcome] | None) -> None:
    for failure in summary.failures:
        where = "/".join(part for part in (failure.root, failure.workspace) if part)
        level = logging.WARNING if failure.lies_in_workspace else logging.ERROR
        text = f"failed: {where}: {failure.error}" if where else f"failed: {failure.error}"
        messages.tell(level, clean(text), root=failure.root, workspace=failure.workspace)
    for outcome in would or ():
        click.echo(f"would commit {outcome.candidate.root.key}/{outcome.candidate.name}{_run(outcome)}")
    click.echo(
        f"{'interrupted: ' if summary.interrupted else ''}"
        f"{summary.scanned} workspaces: {summary.committed} {'committed' if would is None else 'would be committed'}, "
        f"{summary.skipped} skipped, {summary.unfinished} unfinished, {summary.failed} failed; "
        f"{summary.recovered_rows} rows recovered from journals; {summary.seconds:.2f} s"
    )


def _run(outcome: Outcome) -> str:
    found = outcome.status
    return f" ({clean(found.status)}, run {found.runs})" if found is not None else ""


def _progress(config: Config) -> tuple[Callable[[int], None], Callable[[], None]]:
    """(called now and then with how many workspaces were seen, called at the end): a bar when stderr is a terminal.

    Only then are the workspaces counted beforehand, so that the bar knows its length.
    """
    if not sys.stderr.isatty():
        return lambda _: None, lambda: None
    bar = click.progressbar(length=_count(config), label="workspaces", file=sys.stderr, show_pos=True)
    bar.render_progress()
    return lambda seen: bar.update(seen - bar.pos), bar.render_finish


def _count(config: Config) -> int:
    total = 0
    for watched in config.roots:
        with contextlib.suppress(RootUnavailable):
            total += sum(1 for _ in scan(watched))
    return total
