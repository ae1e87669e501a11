"""Rows in memory on their way into the history."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from agentic_watch.history import HistoryError, rows
from agentic_watch.history.rows import Row
from agentic_watch.history.store import History
from agentic_watch.workspace.kept_file import KeptFile
from agentic_watch.workspace.record import Record

HOST = os.uname().nodename
HELD_BYTES = 8 << 20
"""What a batch, or the rows recovered from one journal, may hold in memory before it is written."""


@dataclass(slots=True)
class RowBuffer:
    """Rows in memory until their batch is written, and about how many bytes they take there."""

    rows: list[Row] = field(default_factory=list)
    weight: int = 0

    def add(self, record: Record, root: str, kept: tuple[KeptFile, ...] = ()) -> None:
        """Make the row of a record, with what is `kept` of its files, and keep it."""
        self._add(rows.from_record(record, root, HOST)._replace(kept=kept))

    def add_recovered(self, line: Record, root: str, moved_to: str | None, kept: tuple[KeptFile, ...]) -> None:
        """Make the row of a line that the history lacks, with what is `kept` of its files, and keep it."""
        self._add(rows.from_record(line, root, HOST, moved_to)._replace(is_recovered=True, kept=kept))

    def _add(self, row: Row) -> None:
        self.rows.append(row)
        self.weight += row.weight

    def take(self) -> list[Row]:
        """Hand over all of them."""
        taken, self.rows, self.weight = self.rows, [], 0
        return taken


def insert_now(new_rows: Sequence[Row], history: History) -> str:
    """Insert rows in a transaction of their own; gives why it could not be done, or ""."""
    try:
        history.insert(new_rows)
    except HistoryError as error:
        return str(error)
    return ""
