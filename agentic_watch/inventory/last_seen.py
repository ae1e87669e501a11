"""Maintains the index of workspaces: the last known state of each, and when a failing one is due again.

Rows are written in groups; a lost row only means that its workspace is read once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress

from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.config import Config, Root
from agentic_watch.history import HistoryError, open_runs_table, workspaces_table
from agentic_watch.history.open_runs_table import OpenRun
from agentic_watch.history.store import History
from agentic_watch.history.workspaces_table import RootIndex, WorkspaceRow
from agentic_watch.host import processes
from agentic_watch.host.processes import Here
from agentic_watch.inventory.ghosts import is_ghost, named_at
from agentic_watch.inventory.next_attempts import backoff
from agentic_watch.inventory.open_runs import AT_ONCE, OpenRuns
from agentic_watch.scan.walk import WHOLE, Share
from agentic_watch.workspace import instant
from agentic_watch.workspace.candidate import Candidate, Key
from agentic_watch.workspace.layout import name_problem
from agentic_watch.workspace.status import Status

_FLUSH_AT = 512
_TRY_SECONDS = 2.0
"""Pause after a locked history, so that not every outcome tries it again."""
_CATCH_UP_SECONDS = 0.1
_NO_STATUS = Status("", instant.ZERO)
_LONGEST_ERROR = 500
_LONGEST_WORD = 200
_LOOK_SHARE = 0.05
"""Maximum share of time for checking the processes of one root."""


class LastSeen:
    """Collects states and writes them to the history's `workspaces` table.

    `failing` maps each failing workspace to its consecutive failures and the time of the next attempt (seconds since
    the epoch). Without a `config`, or if it disables them, ghosts are not tracked; `waits` and `here` as in OpenRuns.
    """

    def __init__(
        self,
        history: History,
        config: Config | None = None,
        *,
        waits: bool = False,
        here: Callable[[], Here] = processes.here,
    ) -> None:
        self._history = history
        self.open_runs = OpenRuns(history, config, waits=waits, here=here)
        self._next_look: dict[str, float] = {}
        self._changed: dict[Key, WorkspaceRow] = {}
        self._gone: set[Key] = set()
        self._next_try = 0.0
        self.failing: dict[Key, tuple[int, float]] = {}

    def load(self, root: str, finished: frozenset[str], known: RootIndex) -> Iterator[None]:
        """Load the index of one root into `known`, in steps; nothing when the history is not available."""
        self.flush()
        try:
            yield from workspaces_table.load(self._history, root, finished, known)
        except HistoryError:
            known.signatures.clear()
            known.unfinished.clear()
            return
        for name, failure in known.failing.items():
            self.failing.setdefault((root, name), failure)

    def note(self, outcome: Outcome, now: float) -> float | None:
        """Record the outcome of a workspace; returns the time of the next attempt if it failed."""
        key = outcome.candidate.key
        self.open_runs.note(outcome, now)
        if outcome.is_gone:
            self.forget([key])
            return None
        if outcome.verdict in (Verdict.BUSY, Verdict.READING):
            return None
        if outcome.verdict is not Verdict.FAILED:
            self.failing.pop(key, None)
            if outcome.ended:
                return None  # the next outcome describes what is on disk
            self._keep(key, _state(outcome, now))
            return None
        count = self.failing.get(key, (0, 0.0))[0] + 1
        due = now + backoff(count)
        self.failing[key] = count, due
        # A name that is not UTF-8 cannot be stored; its failures are counted in memory only.
        if not name_problem(outcome.candidate.name):
            self._keep(key, _failure(outcome, count, due, now))
        return due

    def unended(self, root: Root, share: Share = WHOLE) -> Iterator[Candidate | None]:
        """Check which running dispatches have lost their process or workspace, since no file changes then. Yields the
        workspaces to record as ghosts, and None as a point to pause."""
        if time.monotonic() < self._next_look.get(root.key, 0.0):
            return
        self.flush()
        with suppress(HistoryError):
            spent, last = 0.0, ""
            while some := open_runs_table.running(self._history, root.key, last, AT_ONCE):
                began, last = time.monotonic(), some[-1][0].workspace
                found = [self._look(root, state, run) for state, run in some if self._is_meant(root, share, state)]
                spent += time.monotonic() - began
                yield from filter(None, found)
                yield None
            self._next_look[root.key] = time.monotonic() + spent / _LOOK_SHARE
            yield from self.open_runs.removed(
                root, lambda name: share.has(name) and (root.key, name) not in self._changed
            )

    def _is_meant(self, root: Root, share: Share, state: WorkspaceRow) -> bool:
        key = root.key, state.workspace
        return share.has(state.workspace) and key not in self._changed and key not in self._gone

    def _look(self, root: Root, state: WorkspaceRow, run: OpenRun | None) -> Candidate | None:
        began = processes.began(state.pid)
        if began is None and not state.ghost:
            # A ghost stays one until its status changes: the pid may be reused.
            self._keep((state.root, state.workspace), state._replace(ghost=1))
        return self.open_runs.judged(root, state, run, began)

    @property
    def dirty(self) -> bool:
        """Whether there is something to write."""
        return bool(self._changed or self._gone) or self.open_runs.is_dirty

    def keep_roots(self, keys: Collection[str]) -> None:
        """Drop the failures of other roots."""
        self.failing = {key: failure for key, failure in self.failing.items() if key[0] in keys}

    def forget(self, keys: Iterable[Key]) -> None:
        """Remove workspaces that no longer exist."""
        for key in keys:
            self.failing.pop(key, None)
            self._changed.pop(key, None)
            if not name_problem(key[1]):
                self._gone.add(key)

    def distrust(self) -> None:
        """The history was replaced, so the states are not valid for it: have every workspace read again."""
        self._changed = {key: state._replace(signature=b"", journal=b"") for key, state in self._changed.items()}

    def _keep(self, key: Key, state: WorkspaceRow) -> None:
        self._changed[key] = state
        self._gone.discard(key)
        if len(self._changed) >= _FLUSH_AT and time.monotonic() >= self._next_try:
            self.flush()

    def flush(self) -> None:
        """Write the collected rows. If the history is not available they are kept for later, up to a limit."""
        if self._history.read_only:
            return
        with suppress(HistoryError):
            self._history.catch_up(_CATCH_UP_SECONDS)
        if not self.dirty:
            return
        try:
            self._history.open()
            if self._history.notices:
                self.distrust()
            workspaces_table.remember(self._history, self._changed.values(), self._gone, self.open_runs.write)
        except HistoryError:
            self._next_try = time.monotonic() + _TRY_SECONDS
            if len(self._changed) + len(self._gone) < 8 * _FLUSH_AT:
                return
        self._changed.clear()
        self._gone.clear()
        self.open_runs.clear()


def _state(outcome: Outcome, now: float) -> WorkspaceRow:
    status = outcome.status or _NO_STATUS
    return WorkspaceRow(
        root=outcome.candidate.root.key,
        workspace=outcome.candidate.name,
        # Shortened: a status may hold a text of 1 MiB, and the index is kept in memory.
        status=status.status[:_LONGEST_WORD],
        agent=status.agent[:_LONGEST_WORD],
        repo=status.repo[:_LONGEST_WORD],
        question=status.question[: workspaces_table.LONGEST_QUESTION],
        pid=status.pid,
        updated_at=status.updated_at.text,
        updated_utc=status.updated_at.utc(),
        runs=status.runs,
        committed=int(outcome.verdict in (Verdict.COMMITTED, Verdict.SKIPPED) and not outcome.history_error),
        ghost=int(is_ghost(status.status, status.pid, named_at(status.started_at, status.updated_at))),
        seen_at=instant.now_text(now),
        signature=outcome.signature,
        journal=outcome.journal,
    )


def _failure(outcome: Outcome, count: int, due: float, now: float) -> WorkspaceRow:
    return WorkspaceRow(
        root=outcome.candidate.root.key,
        workspace=outcome.candidate.name,
        fail_count=count,
        next_attempt_at=due,
        last_error=outcome.cause[:_LONGEST_ERROR],
        seen_at=instant.now_text(now),
        signature=outcome.candidate.signature,
        journal=outcome.journal,
    )
