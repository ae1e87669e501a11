"""One pass of one process over all roots, or its share of them, and its summary: counts and failures by name."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import chain

from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.config import Config, Root
from agentic_watch.history import HistoryError
from agentic_watch.history.store import History
from agentic_watch.host import processes
from agentic_watch.host.processes import Here
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.inventory.root_scans import Counts, rescan
from agentic_watch.scan import RootUnavailable, ScanError
from agentic_watch.scan.walk import WHOLE, Share
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.workspace_errors import Fault


@dataclass(frozen=True, slots=True)
class Failure:
    """A failure of a workspace, a directory, a root ("" as workspace) or the history (both "").

    `fault` as in Outcome.
    """

    root: str
    workspace: str
    error: str
    fault: Fault = Fault.HOST


@dataclass(frozen=True, slots=True)
class WouldCommit:
    """A workspace that a dry run would commit, with facts of its status."""

    root: str
    workspace: str
    status: str
    runs: int


@dataclass(slots=True)
class Summary:
    """`scanned` counts workspaces, `seconds` is wall time.

    `older` are the commit ids of journal lines that the history lacks and that are older than the last prune: they are
    not inserted. `interrupted`: the pass ended early. `would_commit` is filled by a dry run.
    """

    scanned: int = 0
    committed: int = 0
    skipped: int = 0
    unfinished: int = 0
    failed: int = 0
    recovered_rows: int = 0
    seconds: float = 0.0
    failures: list[Failure] = field(default_factory=list)
    older: list[str] = field(default_factory=list)
    interrupted: bool = False
    would_commit: list[WouldCommit] = field(default_factory=list)

    def fail(self, failure: Failure) -> None:
        """Add a failure."""
        self.failed += 1
        self.failures.append(failure)

    def add(self, other: Summary) -> None:
        """Add the summary of another process of the same pass, except its time; failures of both count once."""
        known = set(self.failures)
        self.scanned += other.scanned
        self.committed += other.committed
        self.skipped += other.skipped
        self.unfinished += other.unfinished
        self.recovered_rows += other.recovered_rows
        self.older += other.older
        self.interrupted |= other.interrupted
        self.would_commit += other.would_commit
        for failure in other.failures:
            if failure not in known:
                self.fail(failure)


_TELL_EVERY = 512
_BUSY_ROUNDS = 100
_BUSY_PAUSE_SECONDS = 0.1


class SharePass:
    """One pass over a share of all roots. `on_outcome` is called for each workspace that was read, `on_scanned` now and
    then with the number found. `here` as in OpenRuns."""

    def __init__(
        self,
        config: Config,
        history: History,
        on_outcome: Callable[[Outcome], None],
        on_scanned: Callable[[int], None],
        share: Share = WHOLE,
        here: Callable[[], Here] = processes.here,
    ) -> None:
        self._config = config
        self._share = share
        self._last_seen = LastSeen(history, config, here=here)
        self._history = history
        self._on_outcome = on_outcome
        self._on_scanned = on_scanned
        self._busy: list[Outcome] = []
        self._history_error = ""
        self._stopping = False
        self._is_second_look = False
        self.summary = Summary()

    def stop(self) -> None:
        """End after the current batch. Called from a signal handler."""
        self._stopping = True

    def run(self, *, dry_run: bool = False) -> Summary:
        """Commit everything finished, or with `dry_run` list it. Raises HistoryRefused."""
        started = time.monotonic()
        self._open_history(dry_run)
        for root in self._config.roots:
            if not self._stopping:
                self._root(root, dry_run)
        self._retry_busy(dry_run)
        if self._share is WHOLE:
            self._unended(dry_run)
        if not dry_run:
            self._last_seen.flush()
            self._mend_history()
        if self._history_error:
            self._fail("", "", f"{self._history_error}; the next run adds the rows from the journals")
        self.summary.interrupted = self._stopping
        self.summary.seconds = round(time.monotonic() - started, 3)
        return self.summary

    def _open_history(self, dry_run: bool) -> None:
        try:
            self._history.open()
        except HistoryError as error:
            self._history_error = "" if dry_run else str(error)

    def _mend_history(self) -> None:
        """Repair what is derived in the history, completely: nothing else waits here."""
        with suppress(HistoryError):  # reported where the rows could not be written
            self._history.catch_up(math.inf)

    def _root(self, root: Root, dry_run: bool) -> None:
        counts = Counts()
        try:
            self._commit(self._found(root, counts), dry_run)
        except RootUnavailable as error:
            self._fail(root.key, "", f"{error.cause}; mount or create it, or remove it from the configuration")
        self._on_scanned(self.summary.scanned + counts.scanned)
        self.summary.scanned += counts.scanned
        self.summary.skipped += counts.committed
        self.summary.unfinished += counts.unfinished

    def _unended(self, dry_run: bool) -> None:
        """Record ghosts. Only after all roots were scanned, since a workspace may have been moved between them: a share
        leaves this to the parent process."""
        self._is_second_look = True
        for root in self._config.roots:
            if not self._stopping:
                self._commit(filter(None, self._last_seen.unended(root)), dry_run)
        self._retry_busy(dry_run)

    def run_unended(self, *, dry_run: bool = False) -> Summary:
        """Do only the work after all shares of a pass: record ghosts. Raises HistoryRefused."""
        self._unended(dry_run)
        if not dry_run:
            self._last_seen.flush()
        return self.summary

    def _found(self, root: Root, counts: Counts) -> Iterator[Candidate]:
        """Yield the workspaces to read; unreadable directories are reported in the summary."""
        told = 0
        for found in rescan(root, self._last_seen, self._config.finished, counts, self._share):
            if self._stopping:
                return
            if isinstance(found, ScanError):
                self._fail(root.key, found.name, found.cause)
            elif found is not None:
                yield found
            if counts.scanned - told >= _TELL_EVERY:
                told = counts.scanned
                self._on_scanned(self.summary.scanned + counts.scanned)

    def _commit(self, candidates: Iterator[Candidate], dry_run: bool) -> None:
        for first in candidates:
            from agentic_watch.commit.committer import Committer  # late: takes 10 ms, and most passes commit nothing

            with closing(Committer(self._config, self._history)) as committer:
                found = chain([first], candidates)
                for outcome in map(committer.judge, found) if dry_run else committer.commit_each(found):
                    self._take(outcome, dry_run=dry_run)

    def _take(self, outcome: Outcome, *, dry_run: bool) -> None:
        root, name, summary = outcome.candidate.root.key, outcome.candidate.name, self.summary
        if outcome.verdict is Verdict.BUSY:
            self._busy.append(outcome)
            return
        self._last_seen.note(outcome, time.time())
        summary.recovered_rows += outcome.recovered_rows
        summary.older += outcome.older
        self._history_error = self._history_error or outcome.history_error
        if outcome.verdict is Verdict.COMMITTED:
            summary.committed += 1
            if dry_run and (said := outcome.status) is not None:
                summary.would_commit.append(WouldCommit(root, name, said.status, said.runs))
        elif outcome.verdict is Verdict.SKIPPED:
            summary.skipped += 1
        elif outcome.verdict in (Verdict.UNFINISHED, Verdict.JOURNAL_ONLY):
            summary.unfinished += not self._is_second_look
        elif outcome.verdict is Verdict.FAILED:
            self._fail(root, name, outcome.cause, fault=outcome.fault)
        self._on_outcome(outcome)  # a workspace that vanished meanwhile is no failure

    def _retry_busy(self, dry_run: bool) -> None:
        """Retry workspaces that other processes held, for ten seconds in all."""
        for _ in range(_BUSY_ROUNDS):
            if not self._busy or self._stopping:
                return
            time.sleep(_BUSY_PAUSE_SECONDS)
            waiting, self._busy = self._busy, []
            self._commit((outcome.candidate for outcome in waiting), dry_run)
        for outcome in self._busy:
            root, name = outcome.candidate.root.key, outcome.candidate.name
            self._fail(root, name, f"{outcome.cause}; run again later", fault=Fault.WORKSPACE)

    def _fail(self, root: str, workspace: str, error: str, *, fault: Fault = Fault.HOST) -> None:
        self.summary.fail(Failure(root, workspace, error, fault))
