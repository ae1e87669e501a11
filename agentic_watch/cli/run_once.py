"""`--once`: run the backfill, show its progress, print its summary."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import logging
import sys
from collections.abc import Callable

import click

from agentic_watch.backfill import Backfill, Summary
from agentic_watch.cli import logs
from agentic_watch.cli.exit_status import EXIT_FAILED
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
    config = state.config()
    logs.set_up(config, state.verbosity, quieter=True)
    gc.set_threshold(_RARELY)
    history = History(config.history, read_only=dry_run)
    tick, end = _progress(config)
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
