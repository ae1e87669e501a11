"""Runs one pass over all roots in several processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from agentic_watch.backfill.one_pass import Failure, SharePass, Summary
from agentic_watch.commit.outcome import Outcome
from agentic_watch.config import Config
from agentic_watch.history import HistoryError, HistoryRefused
from agentic_watch.history.store import History
from agentic_watch.host.jobs import WORTH_IT, Jobs, Tell, fitting
from agentic_watch.scan.walk import Share

_LEVELS = 3
"""Depth of a root's usual workspaces (org/repo/task); directories below are not counted."""

Result = Summary | HistoryRefused


def fitting_jobs(config: Config) -> int:
    """How many processes pay off for these roots on this host."""
    most = fitting()
    return most if most > 1 and _is_large(config) else 1


def _is_large(config: Config) -> bool:
    """Whether there may be many workspaces, estimated from the directories alone."""
    seen = 0
    for root in config.roots:
        waiting = [(root.path, 1)]
        while waiting and seen < WORTH_IT:
            path, level = waiting.pop()
            with suppress(OSError), os.scandir(path) as entries:
                inner = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
                seen += len(inner)
                if level < _LEVELS:
                    waiting += [(one, level + 1) for one in inner]
    return seen >= WORTH_IT


class BackfillJobs:
    """`count` processes, each with a share. `on_outcome` is called in them, `on_scanned` in this one, as in SharePass.

    A job that dies is reported in the history's notices, and another job repeats its share.
    """

    def __init__(
        self,
        config: Config,
        history: History,
        on_outcome: Callable[[Outcome], None],
        on_scanned: Callable[[int], None],
        count: int,
    ) -> None:
        self._config = config
        self._history = history
        self._on_outcome = on_outcome
        self._on_scanned = on_scanned
        self._count = count
        self._scanned = [0] * count
        self._jobs: Jobs | None = None
        self._own: SharePass | None = None
        self._dry_run = False
        self._stopping = False

    def stop(self) -> None:
        """Ask all jobs to end after their current batch. Called from a signal handler."""
        self._stopping = True
        if self._jobs is not None:
            self._jobs.stop()
        if self._own is not None:
            self._own.stop()

    def run(self, *, dry_run: bool = False) -> Summary:
        """As SharePass.run."""
        started = time.monotonic()
        self._dry_run = dry_run
        with suppress(HistoryError):  # each job reports it; the file is created or upgraded before they start
            self._history.open()
        self._history.close()  # a connection does not outlive a fork
        summary = self._sum_up()
        summary.interrupted |= self._stopping
        summary.seconds = round(time.monotonic() - started, 3)
        return summary

    def _sum_up(self) -> Summary:
        results, died = self._share_out(range(self._count))
        if died and not self._stopping:
            for number, how in died.items():
                self._history.notices.append(f"{self._name(number)} {how}; another job repeats its share")
            again, died = self._share_out(died)
            results |= again
        summary = self._unended() if not self._stopping else Summary()
        for _, result in sorted(results.items()):
            if isinstance(result, HistoryRefused):
                raise result
            summary.add(result)
        for number, how in died.items() if not self._stopping else ():
            summary.fail(Failure("", "", f"{self._name(number)} {how}, too; run again with --jobs 1 for the rest"))
        return summary

    def _unended(self) -> Summary:
        """The work that follows all shares."""
        own = self._own = SharePass(self._config, self._history, self._on_outcome, lambda _: None)
        try:
            return own.run_unended(dry_run=self._dry_run)
        finally:
            self._history.close()

    def _name(self, number: int) -> str:
        return f"job {number + 1} of {self._count}"

    def _share_out(self, numbers: range | dict[int, str]) -> tuple[dict[int, Result], dict[int, str]]:
        """Run these shares in jobs; returns the results, and how the jobs without a result ended.

        If no process can be started, this process does the share.
        """
        jobs = self._jobs = Jobs(self._in_a_job, self._hear)
        jobs.run(numbers)
        self._jobs = None
        for number in jobs.not_started:
            jobs.results[number] = self._pass(number, partial(self._hear, number))
        return jobs.results, jobs.died

    def _hear(self, number: int, said: int | str) -> None:
        if isinstance(said, str):
            self._history.notices.append(said)
            return
        self._scanned[number] = said
        self._on_scanned(sum(self._scanned))

    def _in_a_job(self, number: int, tell: Tell) -> Result:
        self._jobs = None  # only the parent stops the other jobs
        signal.signal(signal.SIGTERM, lambda *_: self.stop())
        return self._pass(number, tell)

    def _pass(self, number: int, tell: Tell) -> Result:
        """The pass over one share."""
        history = History(self._history.path, read_only=self._history.read_only)
        share = Share(number, self._count)
        self._own = SharePass(self._config, history, self._on_outcome, tell, share)
        if self._stopping:
            self._own.stop()
        try:
            return self._own.run(dry_run=self._dry_run)
        except HistoryRefused as error:
            return error
        finally:
            history.close()
            for notice in history.notices:
                tell(notice)
