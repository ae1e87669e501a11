"""Which commits does each target have? Asked by who may delete what they were made of; nothing is made or written."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from agentic_watch.config import Target
from agentic_watch.fleet import outbox, push_state
from agentic_watch.fleet.push_state import Position, StateError
from agentic_watch.history import queries
from agentic_watch.history.history_file import connect_read_only


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one target has: all rows up to the number `last_id` that have one of its statuses, but what it rejected."""

    target: Target
    last_id: int
    rejected: frozenset[str]

    def has(self, row_id: int, status: str, commit_id: str) -> bool:
        """Whether it has a commit, or is not to have it."""
        if self.target.statuses and status not in self.target.statuses:
            return True
        return row_id <= self.last_id and commit_id not in self.rejected


def delivered(history: str, targets: Sequence[Target]) -> list[Delivered]:
    """What each target has now. Raises StateError when that cannot be known, HistoryError and HistoryRefused."""
    if not targets:
        return []
    path = push_state.path_of(history)
    with queries.reading(history) as connection:
        whose = outbox.history_id(connection)
        try:
            found = [(target, *_of(path, target.name, whose)) for target in targets]
        except (sqlite3.Error, OSError) as error:
            raise StateError(f"{path}: {error}; what the targets have is not known") from error
        return [
            Delivered(target, outbox.confirmed_by(connection, position), rejected)
            for target, position, rejected in found
        ]


def _of(path: str, target: str, whose: str) -> tuple[Position, frozenset[str]]:
    if not os.path.lexists(path):
        return Position(), frozenset()
    with contextlib.closing(connect_read_only(path)) as state:
        sql = "SELECT last_id, last_called FROM targets WHERE target = ? AND history_id = ?"
        row = state.execute(sql, (target, whose)).fetchone()
        sql = "SELECT commit_id FROM dead_letters WHERE target = ?"
        rejected = frozenset(commit_id for (commit_id,) in state.execute(sql, (target,)))
    return Position(*row) if row else Position(), rejected
