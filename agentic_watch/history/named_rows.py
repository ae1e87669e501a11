"""The rows of named workspaces, for who waits for them: under the name that they have, or had."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from agentic_watch.history.store import marks

_AT_ONCE = 400


class NamedRow(NamedTuple):
    """What a row says of how a dispatch ended. `moved_to` is None where its workspace was seen last under its name;
    `started_utc` is None when unset."""

    id: int
    commit_id: str | None
    root: str
    workspace: str
    moved_to: str | None
    status: str
    question: str
    runs: int
    updated_at: str
    updated_utc: str
    started_utc: str | None
    committed_at: str


_COLUMNS = ", ".join(NamedRow._fields)


def of_workspaces(connection: sqlite3.Connection, root: str, names: Sequence[str]) -> dict[str, list[NamedRow]]:
    """By name, the rows of workspaces below the root with this key, also of those that were moved there from another
    name (a moved one's `moved_to` is an absolute path when it is of another root: such a path may be asked for)."""
    found: dict[str, list[NamedRow]] = {}
    for start in range(0, len(names), _AT_ONCE):
        some = names[start : start + _AT_ONCE]
        for name in ("workspace", "moved_to"):
            sql = f"SELECT {name}, {_COLUMNS} FROM dispatch_history WHERE root = ? AND {name} IN ({marks(some)})"
            for asked, *row in connection.execute(sql, (root, *some)):
                found.setdefault(asked, []).append(NamedRow(*row))
    return found
