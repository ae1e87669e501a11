"""The rows of a batch on their way into the history."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentic_watch.history import rows
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.rows import Row
from agentic_watch.history.store import History
from agentic_watch.workspace.kept_file import KeptFile
from agentic_watch.workspace.record import Record

if TYPE_CHECKING:
    from agentic_watch.commit.steps import Commit

HOST = os.uname().nodename


@dataclass(slots=True)
class HeldRows:
    """Rows in memory until their batch is written, and about how many bytes they take there."""

    rows: list[Row] = field(default_factory=list)
    weight: int = 0

    def add(self, record: Record, root: str, moved_to: str | None = None, kept: tuple[KeptFile, ...] = ()) -> None:
        """Make the row of a record, with what is `kept` of its files, and keep it."""
        row = rows.from_record(record, root, HOST, moved_to)._replace(kept=kept)
        self.rows.append(row)
        self.weight += row.weight

    def take(self) -> list[Row]:
        """Hand over all of them."""
        taken, self.rows, self.weight = self.rows, [], 0
        return taken


class _Abandoned(Exception):
    """The transaction is rolled back."""


class Insertion:
    """A transaction that is filled while the lines of its batch are being synced, and committed after that.

    Until then SQLite keeps it in memory: no row is on disk before its line. A failure is noted in each commit.
    """

    def __init__(self, commits: Sequence[Commit], history: History) -> None:
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


def insert_now(new_rows: Sequence[Row], history: History) -> str:
    """Insert rows in a transaction of their own; gives why it could not be done, or ""."""
    try:
        history.insert(new_rows)
    except HistoryError as error:
        return str(error)
    return ""
