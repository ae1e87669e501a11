"""Computes which commits each target has and how many it lacks. Creates and writes nothing, and never waits."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass

from agentic_watch.config import Target
from agentic_watch.fleet import outbox, push_state
from agentic_watch.fleet.push_state import Position, StateError
from agentic_watch.history import HistoryError, HistoryRefused, opening
from agentic_watch.history.history_file import connect_read_only
from agentic_watch.workspace import instant


@dataclass(frozen=True, slots=True)
class Delivered:
    """The commits that a target has: all rows up to the id `last_id` with one of its statuses, except rejected ones."""

    target: Target
    last_id: int
    rejected: frozenset[str]

    def has(self, row_id: int, status: str, commit_id: str) -> bool:
        """Whether it has a commit, or does not want it."""
        if self.target.statuses and status not in self.target.statuses:
            return True
        return row_id <= self.last_id and commit_id not in self.rejected


def delivered(history: str, targets: Sequence[Target]) -> list[Delivered]:
    """The deliveries of each target. Raises StateError when they are unknown, HistoryError and HistoryRefused."""
    if not targets:
        return []
    with opening.reading(history) as connection:
        return _delivered(connection, push_state.path_of(history), targets)


def _delivered(connection: sqlite3.Connection, path: str, targets: Sequence[Target]) -> list[Delivered]:
    reached: dict[str, Position] = {}
    rejected: dict[str, set[str]] = {}
    try:
        if os.path.lexists(path):
            with contextlib.closing(connect_read_only(path)) as state:
                sql = "SELECT target, last_id, last_called FROM targets WHERE history_id = ?"
                for name, *row in state.execute(sql, (outbox.history_id(connection),)):
                    reached[name] = Position(*row)
                for name, commit_id in state.execute("SELECT target, commit_id FROM dead_letters"):
                    rejected.setdefault(name, set()).add(commit_id)
    except (sqlite3.Error, OSError) as error:
        raise StateError(f"{path}: {error}; the state of the targets is unknown") from error
    return [
        Delivered(
            target,
            outbox.confirmed_by(connection, reached.get(target.name, Position())),
            frozenset(rejected.get(target.name, ())),
        )
        for target in targets
    ]


@dataclass(frozen=True, slots=True)
class Backlog:
    """Number of commits that a target lacks, and the age of the oldest in seconds."""

    pending: int
    oldest_seconds: float


def backlogs(history: str, targets: Sequence[Target]) -> dict[str, Backlog]:
    """The backlog of each target by its name; empty when unknown."""
    if not targets:
        return {}
    try:
        with opening.reading(history) as connection:
            found = _delivered(connection, push_state.path_of(history), targets)
            return {one.target.name: _backlog(connection, one) for one in found}
    except (HistoryError, HistoryRefused, StateError, sqlite3.Error, OSError):
        return {}


def _backlog(connection: sqlite3.Connection, found: Delivered) -> Backlog:
    condition, names = outbox.with_status(found.target.statuses)
    sql = f"SELECT count(*), min(committed_at) FROM dispatch_history WHERE id > ?{condition}"
    pending, oldest = connection.execute(sql, (found.last_id, *names)).fetchone()
    waited = time.time() - instant.parse(oldest).ns / 1e9 if oldest else 0.0
    return Backlog(pending, max(0.0, round(waited, 1)))
