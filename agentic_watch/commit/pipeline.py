"""The steps of many batches, one behind the other: what one sync makes durable belongs to three batches.

The order is the same for each workspace: what it writes in one step is durable before its next step begins.
Where syncfs is certain and cheap, one call makes durable the lines of one batch, the temporary markers of the
batch before it and the renames of the one before that, while the next is being read. Elsewhere each workspace
has its own fsyncs, overlapped within its batch.
"""

from __future__ import annotations

from agentic_watch.commit.batch import Batch, Insertion
from agentic_watch.commit.outcome import Outcome
from agentic_watch.commit.steps import WorkspaceCommit
from agentic_watch.history.store import History
from agentic_watch.host.file_systems import is_fit, sync_filesystem
from agentic_watch.host.threads import ThreadPool

_TOGETHER_AT_LEAST = 16


class Pipeline:
    """Batches under way. Used from one thread; what it hands to others it waits for."""

    def __init__(self, overlap: ThreadPool, history: History) -> None:
        self._overlap = overlap
        self._history = history
        self._lined = Batch()
        self._marked = Batch()
        self._placed = Batch()
        self._device: int | None = None
        self._synced = True

    def put(self, batch: Batch) -> list[Outcome]:
        """Begin to write a batch, whose commits are planned; gives what became of those that are done by now."""
        try:
            return self._put(batch)
        except BaseException:
            self._overlap.wait()
            batch.close()
            raise

    def _put(self, batch: Batch) -> list[Outcome]:
        device = _common_device(batch.writing())
        if device is None:
            return self.drain() + self._put_alone(batch)
        done = self.drain() if device != self._device else []
        self._device = device
        is_heavy = batch.is_heavy  # while its lines are still held
        done += self._advance(batch)
        if is_heavy:
            done += self.drain()
        return done

    def drain(self) -> list[Outcome]:
        """Finish all that is under way; gives what became of it."""
        done = []
        while not (self._lined.is_empty and self._marked.is_empty and self._placed.is_empty):
            done += self._advance(Batch())
        return done

    def close(self) -> None:
        """Close what is under way after an error, when no thread uses it any more."""
        self._overlap.wait()
        for batch in (self._lined, self._marked, self._placed):
            batch.close()

    def _advance(self, batch: Batch) -> list[Outcome]:
        """One step for each batch under way, and one sync for all, which goes on after this returns."""
        self._overlap.wait()
        if not self._synced:
            self._sync_each()
        insertion = Insertion(self._lined.all(), self._history)
        if not insertion.is_empty:
            insertion.begin()
            self._overlap.begin(Insertion.finish, insertion)  # its sync, while what follows fills the page cache
        done = self._placed.finish()
        for commit in self._marked.marking():
            commit.place_marker()
        for commit in batch.writing():
            commit.write_line()
        self._overlap.wait()
        for commit in self._lined.writing():
            commit.release()
            if commit.marks:
                commit.write_marker(sync=False)
        self._lined, self._marked, self._placed = batch, self._lined, self._marked
        self._start_sync()
        return done

    def _start_sync(self) -> None:
        # The oldest descriptor was opened before any of them wrote, so it hears of every failed write (syncfs(2)).
        commits = [*self._placed.writing(), *self._marked.writing(), *self._lined.writing()]
        self._synced = True
        if commits:
            self._overlap.begin(self._sync_together, commits[0].workspace.meta)

    def _sync_together(self, descriptor: int) -> None:
        try:
            sync_filesystem(descriptor)
        except OSError:
            self._synced = False

    def _sync_each(self) -> None:
        """The file system could not be synced whole: ask for each file by itself, so that only the bad ones fail."""
        self._overlap.start(WorkspaceCommit.sync_line, self._lined.writing())
        self._overlap.wait()
        self._overlap.start(WorkspaceCommit.replace_marker, self._placed.marking())
        self._overlap.wait()
        self._overlap.start(WorkspaceCommit.rewrite_marker, self._marked.marking())
        self._overlap.wait()

    def _put_alone(self, batch: Batch) -> list[Outcome]:
        """All steps of one batch; its markers are being written after this returns."""
        insertion = Insertion(batch.all(), self._history)
        try:
            self._sync_lines(batch.writing(), insertion)
            insertion.finish()
        finally:
            insertion.close()
        self._overlap.start(WorkspaceCommit.replace_marker, batch.marking())
        self._placed, self._device = batch, None
        return []

    def _sync_lines(self, commits: list[WorkspaceCommit], insertion: Insertion) -> None:
        """Write the lines and make them durable, while their rows are made ready."""
        if len(commits) == 1 and not insertion.is_empty:
            commits[0].write_line()
            self._overlap.begin(Insertion.begin, insertion)
            commits[0].sync_line()
        else:
            self._overlap.start(WorkspaceCommit.append_line, commits)
            insertion.begin()
        self._overlap.wait()


def _common_device(commits: list[WorkspaceCommit]) -> int | None:
    """The device that all of them lie on, when they are enough to be synced together, and it is fit for that."""
    if len(commits) < _TOGETHER_AT_LEAST:
        return None
    first = commits[0].workspace
    device = first.place.device
    if any(commit.workspace.place.device != device for commit in commits) or not is_fit(first.meta):
        return None
    return device
