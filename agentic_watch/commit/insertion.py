"""The rows of a group on their way into the history."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from agentic_watch.commit.work import Work
from agentic_watch.history import rows
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History

HOST = os.uname().nodename


class _Abandoned(Exception):
    """The transaction is rolled back."""


class Insertion:
    """A transaction that is filled while the lines of its group are being synced, and committed after that.

    Until then SQLite keeps it in memory: no row is on disk before its line. A failure is noted in each work.
    """

    def __init__(self, works: Sequence[Work], history: History) -> None:
        self._works = works
        self._history = history
        self._transaction = contextlib.ExitStack()
        self.is_empty = history.read_only or not any(work.new_rows or work.record for work in works)

    def begin(self) -> None:
        """Fill the transaction; another thread may do this, but no two at a time."""
        if self.is_empty:
            return
        new_rows = [row for work in self._works for row in (*work.new_rows, *_row(work))]
        try:
            self._transaction.enter_context(self._history.inserting(new_rows))
        except HistoryError as error:
            self._note(error)

    def finish(self) -> None:
        """Commit it. When a line failed meanwhile, only the rows of the others are inserted."""
        sound = [work for work in self._works if work.error is None]
        if len(sound) < len(self._works):
            self.close()
            insert_rows(sound, self._history)
            return
        try:
            self._transaction.close()
        except HistoryError as error:
            self._note(error)
        for work in self._works:
            work.let_go()

    def close(self) -> None:
        """Roll back what has been begun and not finished."""
        with contextlib.suppress(_Abandoned, HistoryError), self._transaction:
            raise _Abandoned

    def _note(self, error: HistoryError) -> None:
        for work in self._works:
            work.history_error = str(error)


def _row(work: Work) -> list[rows.Row]:
    return [rows.from_record(work.record, work.candidate.root.key, HOST)] if work.record else []


def insert_rows(works: Sequence[Work], history: History) -> None:
    """Insert the rows that works hold, in one transaction; a failure is noted in each."""
    insertion = Insertion(works, history)
    insertion.begin()
    insertion.finish()
