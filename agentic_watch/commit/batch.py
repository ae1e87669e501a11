"""The workspaces that are open, locked and written together.

The rows of a batch on their way into the history.
"""

from __future__ import annotations

import contextlib
import functools
import resource
from collections.abc import Sequence

from agentic_watch.commit.outcome import Outcome
from agentic_watch.commit.row_buffer import HELD_BYTES
from agentic_watch.commit.steps import WorkspaceCommit
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History


class _Abandoned(Exception):
    """The transaction is rolled back."""


class Insertion:
    """A transaction that is filled while the lines of its batch are being synced, and committed after that.

    Until then SQLite keeps it in memory: no row is on disk before its line. A failure is noted in each commit.
    """

    def __init__(self, commits: Sequence[WorkspaceCommit], history: History) -> None:
        self._commits = commits
        self._history = history
        self._transaction = contextlib.ExitStack()
        self._failed = 0
        self.is_empty = history.read_only or not any(commit.has_rows for commit in commits)

    def begin(self) -> None:
        """Fill the transaction; another thread may do this, but no two at a time."""
        if self.is_empty:
            return
        new_rows = [row for commit in self._commits for row in commit.rows()]
        self._failed = self._count_failed()
        try:
            self._transaction.enter_context(self._history.inserting(new_rows))
        except HistoryError as error:
            self._note(str(error))

    def finish(self) -> None:
        """Commit it; when a line failed meanwhile, without its row."""
        if not self.is_empty and self._count_failed() != self._failed:
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

    def _count_failed(self) -> int:
        return sum(commit.error is not None for commit in self._commits)

    def _note(self, error: str) -> None:
        for commit in self._commits:
            commit.history_error = error


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


class Batch:
    """Commits that go through their steps together, up to a bound in bytes held in memory."""

    def __init__(self) -> None:
        self._commits: list[WorkspaceCommit] = []
        self._weight = 0

    def add(self, commit: WorkspaceCommit) -> None:
        """Take in one more."""
        self._commits.append(commit)
        self._weight += commit.weight

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not self._commits

    @property
    def is_full(self) -> bool:
        """Whether it holds so much in memory that it should be written before more is added."""
        return self._weight > HELD_BYTES

    @property
    def is_heavy(self) -> bool:
        """Whether it holds so much in memory that no other should be begun beside it."""
        return self._weight > HELD_BYTES // 8

    def all(self) -> Sequence[WorkspaceCommit]:
        """All of them."""
        return self._commits

    def writing(self) -> list[WorkspaceCommit]:
        """Those of them that lack a line or a marker."""
        return [commit for commit in self._commits if commit.writes]

    def marking(self) -> list[WorkspaceCommit]:
        """Those of them that lack a marker."""
        return [commit for commit in self._commits if commit.marks]

    def finish(self) -> list[Outcome]:
        """What became of each; closes all."""
        outcomes = [commit.outcome() for commit in self._commits]
        self.close()
        return outcomes

    def close(self) -> None:
        """Close all, which releases their locks."""
        for commit in self._commits:
            commit.close()
        self._commits.clear()
