"""The steps of many commits, a batch behind the other: what one sync makes durable belongs to three batches.

The order is the same for each workspace: what it writes in one step is durable before its next step begins.
Where syncfs is certain and cheap, one call makes durable the lines of one batch, the temporary markers of the
batch before it and the renames of the one before that, while the next is being read. Elsewhere each workspace
has its own fsyncs, overlapped within its batch.
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
"""Workspaces that are open, locked and written together."""

_AT_MOST = 120
"""As many as the usual limit of 1,024 descriptors has room for: half of it takes 8 % longer, twice as many as long."""
_OPEN_EACH = 8
"""Descriptors for each workspace of a batch: three while it is read, three until its line is durable, and one for
each of the two batches whose markers are under way."""
_OPEN_ELSEWHERE = 64
FILES_WANTED = _AT_MOST * _OPEN_EACH + _OPEN_ELSEWHERE
"""The limit of descriptors from which on no batch is smaller than it could be."""


@functools.cache
def most() -> int:
    """Workspaces in a batch, so that all batches under way stay below the soft limit of descriptors."""
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
    """A transaction that is filled while the lines of its batch are being synced, and committed after that.

    Until then SQLite keeps it in memory: no row is on disk before its line. A failure is noted in each commit.
    """

    def __init__(self, commits: Batch, history: History) -> None:
        self._commits = commits
        self._history = history
        self._transaction = contextlib.ExitStack()
        self._sound: Batch = []

    def begin(self) -> None:
        """Fill the transaction; another thread may do this, but no two at a time."""
        # First: a line that fails while the rows are made is noticed at the end.
        self._sound = [commit for commit in self._commits if commit.error is None]
        new_rows = [row for commit in self._commits for row in commit.rows()]
        if self._history.read_only or not new_rows:
            return
        try:
            self._transaction.enter_context(self._history.inserting(new_rows))
        except HistoryError as error:
            self._note(str(error))

    def finish(self) -> None:
        """Commit it; when a line failed meanwhile, without its row."""
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
        """Roll back what has been begun and not finished."""
        with contextlib.suppress(_Abandoned, HistoryError), self._transaction:
            raise _Abandoned

    def _note(self, error: str) -> None:
        for commit in self._commits:
            commit.history_error = error


_TOGETHER_AT_LEAST = 16


class Pipeline:
    """Batches under way. Used from one thread; what it hands to others it waits for."""

    def __init__(self, overlap: ThreadPool, history: History) -> None:
        self._overlap = overlap
        self._history = history
        self._lined: Batch = []
        self._marked: Batch = []
        self._placed: Batch = []
        self._device: int | None = None
        self._synced = True

    def put(self, batch: Batch) -> list[Outcome]:
        """Begin to write a batch, whose commits are planned; gives what became of those that are done by now."""
        try:
            device = _common_device(batch)
            done = self.drain() if device is None or device != self._device else []
            self._device = device
            if device is None:
                self._put_alone(batch)
                return done
            # While its lines are still held; then no other is begun beside it.
            is_heavy = sum([commit.weight for commit in batch]) > HELD_BYTES // 8
            done += self._advance(batch)
            return done + self.drain() if is_heavy else done
        except BaseException:
            self._overlap.wait()
            close(batch)
            raise

    def drain(self) -> list[Outcome]:
        """Finish all that is under way; gives what became of it."""
        done: list[Outcome] = []
        if not (self._lined or self._marked or self._placed):
            return done
        while self._lined or self._marked:
            done += self._advance([])
        self._wait()
        return done + self._finish()

    def close(self) -> None:
        """Close what is under way after an error, when no thread uses it any more."""
        self._overlap.wait()
        close([*self._lined, *self._marked, *self._placed])

    def _wait(self) -> None:
        """Until all that was begun is durable; where one sync for all failed, file by file."""
        self._overlap.wait()
        if not self._synced:
            self._sync_each()
            self._synced = True

    def _finish(self) -> list[Outcome]:
        """What became of those whose markers are durable; closes them."""
        placed, self._placed = self._placed, []
        try:
            return [commit.outcome() for commit in placed]
        finally:
            close(placed)

    def _advance(self, batch: Batch) -> list[Outcome]:
        """One step for each batch under way, and one sync for all, which goes on after this returns."""
        self._wait()
        if self._lined:
            insertion = Insertion(self._lined, self._history)
            insertion.begin()
            self._overlap.begin(insertion.finish)  # its sync, while what follows fills the page cache
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
        # The oldest descriptor was opened before any of them wrote, so it hears of every failed write (syncfs(2)).
        if commits := _writing([*self._placed, *self._marked, *self._lined]):
            self._overlap.begin(functools.partial(self._sync_together, commits[0].workspace.meta))

    def _sync_together(self, descriptor: int) -> None:
        try:
            sync_filesystem(descriptor)
        except OSError:
            self._synced = False

    def _sync_each(self) -> None:
        """The file system could not be synced whole: ask for each file by itself, so that only the bad ones fail."""
        self._overlap.start(WorkspaceCommit.sync_line, _writing(self._lined))
        self._overlap.wait()
        self._overlap.start(WorkspaceCommit.replace_marker, _marking(self._placed))
        self._overlap.wait()
        self._overlap.start(WorkspaceCommit.rewrite_marker, _marking(self._marked))
        self._overlap.wait()

    def _put_alone(self, batch: Batch) -> None:
        """All steps of one batch, whose rows are made ready while its lines are synced; its markers are being written
        after this returns."""
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
    """Close all, which releases their locks."""
    for commit in batch:
        commit.workspace.close()


def _writing(batch: Batch) -> Batch:
    """Those of them that lack a line or a marker."""
    return [commit for commit in batch if commit.writes]


def _marking(batch: Batch) -> Batch:
    """Those of them that lack a marker."""
    return [commit for commit in batch if commit.marks]


def _common_device(batch: Batch) -> int | None:
    """The device that all of them lie on, when they are enough to be synced together, and it is fit for that."""
    if len(batch) < _TOGETHER_AT_LEAST or len(commits := _writing(batch)) < _TOGETHER_AT_LEAST:
        return None
    first = commits[0].workspace
    device = first.place.device
    if any(commit.workspace.place.device != device for commit in commits) or not is_fit(first.meta):
        return None
    return device
