"""`--once`: run the backfill, show its progress, print its summary."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import signal
import sys
from functools import partial

import click

from agentic_watch.answers.answer_shape import COMMIT_SCHEMA
from agentic_watch.backfill import BackfillJobs, SharePass, Summary, fitting_jobs
from agentic_watch.cli import logs, messages
from agentic_watch.cli.exit_status import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_UNCOMMITTABLE,
    finishing_what_is_in_hand,
)
from agentic_watch.cli.global_options import State
from agentic_watch.cli.messages import progress
from agentic_watch.cli.output import clean, print_json
from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.config import Config
from agentic_watch.history.store import History
from agentic_watch.scan import RootUnavailable, scan
from agentic_watch.workspace.workspace_errors import Fault

log = logging.getLogger("agentic_watch.once")


def run_once(state: State, *, dry_run: bool, as_json: bool, jobs: int | None = None) -> int:
    """One pass over all roots with `jobs` processes (None: chosen automatically); returns the exit status."""
    config = state.committing()
    logs.set_up(config, state.verbosity, quieter=True)
    history = History(config.history, read_only=dry_run)
    hear = partial(_hear, "would be committed" if dry_run else "committed")
    count = jobs or fitting_jobs(config)
    try:
        # Workspaces are counted beforehand only for a progress bar, which needs its length.
        with progress("workspaces", _count(config) if sys.stderr.isatty() else 0) as tick:
            given = (config, history, hear, tick)
            backfill = BackfillJobs(*given, count) if count > 1 else SharePass(*given)
            with finishing_what_is_in_hand(backfill.stop, signal.SIGINT):
                summary = backfill.run(dry_run=dry_run)
    finally:
        history.close()
    for notice in history.notices:
        log.warning(notice)
    older = 0
    if summary.older:
        from agentic_watch.exchange.pruning import in_no_archive  # rarely needed

        older = len(in_no_archive(config.history, summary.older))
    if older:
        lines = "journal line is" if older == 1 else "journal lines are"
        text = "older than what was pruned, and neither in the history nor in an archive beside it"
        log.warning("%d %s %s; see agentic-watch check", older, lines, text)
    if as_json:
        _print_document(summary, older, dry_run=dry_run)
    else:
        _print(summary, dry_run=dry_run)
    return _exit_status(summary)


def _exit_status(summary: Summary) -> int:
    if summary.interrupted:
        return EXIT_INTERRUPTED
    if all(failure.fault is Fault.WORKSPACE for failure in summary.failures):
        return EXIT_UNCOMMITTABLE if summary.failures else 0
    return EXIT_FAILED


def _hear(done: str, outcome: Outcome) -> None:
    """Log the outcome of one workspace."""
    name = outcome.candidate.name
    for warning in outcome.warnings:
        log.warning("%s: %s", name, warning)
    if outcome.verdict is Verdict.COMMITTED:
        ended = f" as failed: {outcome.status.question}" if outcome.ended and outcome.status is not None else ""
        log.info("%s: %s%s", name, done, ended)


def _print_document(summary: Summary, older: int, *, dry_run: bool) -> None:
    document = {"schema": COMMIT_SCHEMA, **dataclasses.asdict(summary)}
    would = document.pop("would_commit")
    if not summary.interrupted:
        del document["interrupted"]
    del document["older"]
    if older:
        document["older_lines"] = older
    for failure in document["failures"]:
        failure["workspace"] = clean(failure["workspace"])
        del failure["fault"]
    if dry_run:
        document["would_commit"] = [{"root": one["root"], "workspace": one["workspace"]} for one in would]
    print_json(document)


def _print(summary: Summary, *, dry_run: bool) -> None:
    for failure in summary.failures:
        where = "/".join(part for part in (failure.root, failure.workspace) if part)
        level = messages.WARNING if failure.fault is Fault.WORKSPACE else messages.ERROR
        text = f"failed: {where}: {failure.error}" if where else f"failed: {failure.error}"
        messages.tell(level, clean(text), root=failure.root, workspace=failure.workspace)
    for one in summary.would_commit:
        click.echo(f"would commit {one.root}/{one.workspace} ({clean(one.status)}, run {one.runs})")
    done = "would be committed" if dry_run else "committed"
    recovered = summary.recovered_rows
    click.echo(
        f"{'interrupted: ' if summary.interrupted else ''}"
        f"{summary.scanned} workspace{'s' * (summary.scanned != 1)}: {summary.committed} {done}, "
        f"{summary.skipped} skipped, {summary.unfinished} unfinished, {summary.failed} failed; "
        f"{recovered} row{'s' * (recovered != 1)} recovered from journals; {summary.seconds:.2f} s"
    )


def _count(config: Config) -> int:
    total = 0
    for watched in config.roots:
        with contextlib.suppress(RootUnavailable):
            total += sum(1 for _ in scan(watched))
    return total
