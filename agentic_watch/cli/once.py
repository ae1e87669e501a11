"""`--once`: run the backfill, show its progress, print its summary."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Callable

import click

from agentic_watch.backfill import Backfill, Summary
from agentic_watch.cli import logs
from agentic_watch.cli.output import clean, print_json
from agentic_watch.cli.state import EXIT_FAILED, State
from agentic_watch.commit import Outcome, Verdict
from agentic_watch.history.store import History

log = logging.getLogger("agentic_watch.once")
_REDRAW = 50


def run_once(state: State, *, dry_run: bool, as_json: bool) -> int:
    """One pass over all roots; gives the exit status."""
    config = state.config()
    logs.set_up(config, state.verbosity, quieter=True)
    history = History(config.history, read_only=dry_run)
    tick, end = _progress()
    try:
        summary = Backfill(config, history, lambda outcome: _say(outcome, dry_run), tick).run(dry_run=dry_run)
    finally:
        end()
        history.close()
    for notice in history.notices:
        log.warning(notice)
    _print(summary, dry_run=dry_run, as_json=as_json)
    return EXIT_FAILED if summary.failed else 0


def _say(outcome: Outcome, dry_run: bool) -> None:
    name = outcome.candidate.name
    for warning in outcome.warnings:
        log.warning("%s: %s", name, warning)
    if outcome.verdict is Verdict.COMMITTED:
        log.info("%s: %s", name, "would be committed" if dry_run else "committed")


def _print(summary: Summary, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        document = dataclasses.asdict(summary)
        for failure in document["failures"]:
            failure["workspace"] = clean(failure["workspace"])
        print_json(document)
        return
    for failure in summary.failures:
        where = "/".join(part for part in (failure.root, failure.workspace) if part)
        click.echo(clean(f"failed: {where}: {failure.error}" if where else f"failed: {failure.error}"), err=True)
    click.echo(
        f"{summary.scanned} workspaces: {summary.committed} {'would be committed' if dry_run else 'committed'}, "
        f"{summary.skipped} skipped, {summary.unfinished} unfinished, {summary.failed} failed; "
        f"{summary.recovered_rows} rows recovered from journals; {summary.seconds:.2f} s"
    )


def _progress() -> tuple[Callable[[], None], Callable[[], None]]:
    """(called for each workspace seen, called at the end): a counter on stderr when it is a terminal.

    How many there are is known only at the end, so it counts up.
    """
    if not sys.stderr.isatty():
        return lambda: None, lambda: None
    seen = 0

    def tick() -> None:
        nonlocal seen
        seen += 1
        if seen % _REDRAW == 1:
            click.echo(f"\r{seen} workspaces", nl=False, err=True)

    return tick, lambda: click.echo("\r\x1b[K", nl=False, err=True)
