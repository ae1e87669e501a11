"""What a commit adds to what its run used: completed, later merged, a run is committed twice with the same numbers."""

from __future__ import annotations

import sqlite3

from agentic_watch.history.columns import COST_COLUMN, TOKEN_COLUMNS

ADDED = (*TOKEN_COLUMNS, COST_COLUMN)

# Of the run's commits those that were inserted no later: so that all of them together add what the newest one says,
# whatever order they come in and however many come in one transaction.
_NEWEST_TWO = f"""
SELECT updated_utc, {", ".join(ADDED)} FROM dispatch_history
WHERE root = ? AND workspace = ? AND runs = ? AND started_utc IS ? AND id <= (
    SELECT id FROM dispatch_history WHERE root = ? AND workspace = ? AND updated_utc = ? AND runs = ?)
ORDER BY updated_utc DESC LIMIT 2"""


def added(
    connection: sqlite3.Connection, place: tuple[str, str], run: tuple[int, str | None], updated_utc: str, most: int
) -> dict[str, int]:
    """By each of ADDED what the commit adds, {} for one that the history has not, or not as the newest of its run.

    `place` is (root, workspace), `run` (runs, started_utc). At most `most` of each is taken for what a run used: an
    agent may report any number. Never negative: a counter only grows.
    """
    runs, started_utc = run
    found = connection.execute(_NEWEST_TWO, (*place, runs, started_utc, *place, updated_utc, runs)).fetchall()
    if not found or found[0][0] != updated_utc:
        return {}
    now = found[0][1:]
    before = found[1][1:] if len(found) > 1 else (None,) * len(ADDED)
    return {
        name: max(0, min(mine or 0, most) - min(earlier or 0, most))
        for name, mine, earlier in zip(ADDED, now, before, strict=True)
    }
