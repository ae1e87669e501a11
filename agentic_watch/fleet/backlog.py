"""What each target has not got yet, for whoever only looks: nothing is made, written or waited for."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agentic_watch.config import Target
from agentic_watch.fleet import outbox, push_state
from agentic_watch.fleet.push_state import Position
from agentic_watch.history import queries
from agentic_watch.history.history_errors import HistoryError, HistoryRefused
from agentic_watch.history.history_file import connect_read_only
from agentic_watch.history.store import marks
from agentic_watch.workspace import instant


@dataclass(frozen=True, slots=True)
class Backlog:
    """Commits that a target lacks, and for how many seconds the oldest of them has been committed."""

    pending: int
    oldest_seconds: float


def backlogs(history: str, targets: Sequence[Target]) -> dict[str, Backlog]:
    """The backlog of each target by its name; those that cannot be told now are left out."""
    if not targets:
        return {}
    try:
        with queries.reading(history) as connection:
            reached = _reached(history, outbox.history_id(connection))
            return {target.name: _of(connection, target, _after(connection, reached, target)) for target in targets}
    except (HistoryError, HistoryRefused, sqlite3.Error, OSError):
        return {}


def _after(connection: sqlite3.Connection, reached: Mapping[str, Position], target: Target) -> int:
    position = reached.get(target.name)
    return outbox.confirmed_by(connection, position) if position else 0


def _reached(history: str, history_id: str) -> dict[str, Position]:
    """The row up to which each target has this history."""
    path = push_state.path_of(history)
    if not os.path.exists(path):
        return {}
    with contextlib.closing(connect_read_only(path)) as connection:
        sql = "SELECT target, last_id, last_called FROM targets WHERE history_id = ?"
        return {target: Position(*row) for target, *row in connection.execute(sql, (history_id,))}


def _of(connection: sqlite3.Connection, target: Target, after: int) -> Backlog:
    names = sorted(target.statuses)
    condition = f" AND status IN ({marks(names)})" if names else ""
    sql = f"SELECT count(*), min(committed_at) FROM dispatch_history WHERE id > ?{condition}"
    pending, oldest = connection.execute(sql, (after, *names)).fetchone()
    waited = time.time() - instant.parse(oldest).ns / 1e9 if oldest else 0.0
    return Backlog(pending, max(0.0, round(waited, 1)))
