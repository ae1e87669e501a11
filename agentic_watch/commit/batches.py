"""Pipelines the steps of many commits, so that one sync makes data of three consecutive batches durable.

For each workspace the order is kept: data of one step is durable before the next step begins. Where syncfs is reliable
and cheap, one call makes durable the lines of one batch, the temporary markers of the batch before it and the renames
of the one before that, while the next batch is read. Elsewhere each workspace has its own fsyncs, which overlap within
the batch.
"""

from __future__ import annotations

import contextlib
import functools
import resource

from agentic_watch.commit.outcome import Outcome
from agentic_watch.commit.steps import WorkspaceCommit
from agentic_watch.history import HistoryError
from agentic_watch.history.rows import HELD_BYTES
from agentic_watch.history.store import History
from agentic_watch.host.file_systems import is_fit, sync_filesystem
from agentic_watch.host.threads import ThreadPool

Batch = list[WorkspaceCommit]
"""Workspaces that are opened, locked and written together."""

_AT_MOST = 120
"""As many as fit into the usual limit of 1,024 descriptors: half as many take 8 % longer, twice as many the same
time."""
_OPEN_EACH = 8
"""Descriptors per workspace of a batch: three while it is read, three until its line is durable, and one for each of
the two batches whose markers are being written."""
_OPEN_ELSEWHERE = 64
FILES_WANTED = _AT_MOST * _OPEN_EACH + _OPEN_ELSEWHERE
"""The descriptor limit that allows batches of full size."""


@functools.cache
def most() -> int:
    """Maximum size of a batch that keeps all batches in progress below the soft limit of descriptors."""
    try:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except OSError:  # a strict seccomp filter
        return _AT_MOST
    if soft == resource.RLIM_INFINITY:
        return _AT_MOST
    return max(1, min(_AT_MOST, (soft - _OPEN_ELSEWHERE) // _OPEN_EACH))


class _Abandoned(Exception):
    """The transaction is rolled back."""


class Insertion:
    """A transaction that is filled while the lines of its batch are synced, and committed afterwards.

    Until then SQLite keeps it in memory, so no row is on disk before its line. A failure is noted in each commit of the
    batch.
    """

    def __init__(self, commits: Batch, history: History) -> None:
        self._commits = commits
        self._history = history
        self._transaction = contextlib.ExitStack()
        self._sound: Batch = []

    def begin(self) -> None:
        """Fill the transaction. May run in another thread, but only one at a time."""
        # Read before the rows are made, so that `finish` notices lines that fail meanwhile.
        self._sound = [commit for commit in self._commits if commit.error is None]
        new_rows = [row for commit in self._commits for row in commit.rows()]
        if self._history.read_only or not new_rows:
            return
        try:
            self._transaction.enter_context(self._history.inserting(new_rows))
        except HistoryError as error:
            self._note(str(error))

    def finish(self) -> None:
        """Commit the transaction, without the rows of lines that failed meanwhile."""
        if any(commit.error is not None for commit in self._sound):
            self.close()
            self._transaction = contextlib.ExitStack()
            self.begin()
        try:
            self._transaction.close()
        except HistoryError as error:
            self._note(str(error))
        for commit in self._commits:
            commit.forget_rows()

    def close(self) -> None:
        """Roll back a transaction that was not finished."""
        with contextlib.suppress(_Abandoned, HistoryError), self._transaction:
            raise _Abandoned

    def _note(self, error: str) -> None:
        for commit in self._commits:
            commit.history_error = error


_TOGETHER_AT_LEAST = 16


class Pipeline:
    """Batches in progress. Used from one thread; it waits for the work that it gives to others."""

    def __init__(self, overlap: ThreadPool, history: History) -> None:
        self._overlap = overlap
        self._history = history
        self._lined: Batch = []
        self._marked: Batch = []
        self._placed: Batch = []
        self._device: int | None = None
        self._synced = True

    def put(self, batch: Batch) -> list[Outcome]:
        """Begin to write a batch of planned commits; returns the outcomes of commits that are complete by now."""
        try:
            device = _common_device(batch)
            done = self.drain() if device is None or device != self._device else []
            self._device = device
            if device is None:
                self._put_alone(batch)
                return done
            # Before its lines are released; no other transaction is in progress then.
            is_heavy = sum([commit.weight for commit in batch]) > HELD_BYTES // 8
            done += self._advance(batch)
            return done + self.drain() if is_heavy else done
        except BaseException:
            self._overlap.wait()
            close(batch)
            raise

    def drain(self) -> list[Outcome]:
        """Finish all batches in progress; returns their outcomes."""
        done: list[Outcome] = []
        if not (self._lined or self._marked or self._placed):
            return done
        while self._lined or self._marked:
            done += self._advance([])
        self._wait()
        return done + self._finish()

    def close(self) -> None:
        """After an error: close all batches in progress, once no thread uses them."""
        self._overlap.wait()
        close([*self._lined, *self._marked, *self._placed])

    def _wait(self) -> None:
        """Wait until the started sync is complete; if it failed, sync file by file."""
        self._overlap.wait()
        if not self._synced:
            self._sync_each()
            self._synced = True

    def _finish(self) -> list[Outcome]:
        """Close the commits whose markers are durable; returns their outcomes."""
        placed, self._placed = self._placed, []
        try:
            return [commit.outcome() for commit in placed]
        finally:
            close(placed)

    def _advance(self, batch: Batch) -> list[Outcome]:
        """Do one step of each batch in progress, and start one sync for all, which continues after this returns."""
        self._wait()
        if self._lined:
            insertion = Insertion(self._lined, self._history)
            insertion.begin()
            self._overlap.begin(insertion.finish)  # its sync overlaps the writes below
        done = self._finish()
        for commit in _marking(self._marked):
            commit.place_marker()
        for commit in _writing(batch):
            commit.write_line()
        self._overlap.wait()
        for commit in _writing(self._lined):
            commit.release()
            if commit.marks:
                commit.write_marker(sync=False)
        self._lined, self._marked, self._placed = batch, self._lined, self._marked
        self._start_sync()
        return done

    def _start_sync(self) -> None:
        # The oldest descriptor was opened before any of these writes, so syncfs(2) reports every failed one to it.
        if commits := _writing([*self._placed, *self._marked, *self._lined]):
            self._overlap.begin(functools.partial(self._sync_together, commits[0].workspace.meta))

    def _sync_together(self, descriptor: int) -> None:
        try:
            sync_filesystem(descriptor)
        except OSError:
            self._synced = False

    def _sync_each(self) -> None:
        """syncfs failed: sync each file by itself, so that only the affected commits fail."""
        self._overlap.start(WorkspaceCommit.sync_line, _writing(self._lined))
        self._overlap.wait()
        self._overlap.start(WorkspaceCommit.replace_marker, _marking(self._placed))
        self._overlap.wait()
        self._overlap.start(WorkspaceCommit.rewrite_marker, _marking(self._marked))
        self._overlap.wait()

    def _put_alone(self, batch: Batch) -> None:
        """Do all steps of one batch, filling its transaction while its lines are synced; its markers are still being
        written after this returns."""
        insertion, commits = Insertion(batch, self._history), _writing(batch)
        try:
            if len(commits) == 1:
                commits[0].write_line()
                self._overlap.begin(insertion.begin)
                commits[0].sync_line()
            else:
                self._overlap.start(WorkspaceCommit.append_line, commits)
                insertion.begin()
            self._overlap.wait()
            insertion.finish()
        except BaseException:
            insertion.close()
            raise
        self._overlap.start(WorkspaceCommit.replace_marker, _marking(batch))
        self._placed = batch


def close(batch: Batch) -> None:
    """Close all workspaces, which releases their locks."""
    for commit in batch:
        commit.workspace.close()


def _writing(batch: Batch) -> Batch:
    """Commits that still have to write a line or a marker."""
    return [commit for commit in batch if commit.writes]


def _marking(batch: Batch) -> Batch:
    """Commits that still have to write a marker."""
    return [commit for commit in batch if commit.marks]


def _common_device(batch: Batch) -> int | None:
    """The device shared by the whole batch, if it is suitable for syncfs and the batch is large enough; else None."""
    if len(batch) < _TOGETHER_AT_LEAST or len(commits := _writing(batch)) < _TOGETHER_AT_LEAST:
        return None
    first = commits[0].workspace
    device = first.place.device
    if any(commit.workspace.place.device != device for commit in commits) or not is_fit(first.meta):
        return None
    return device
