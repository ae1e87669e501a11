"""Detects missing or foreign dispatches by their number: a salvaged file has fewer, and others may insert rows by
SQL."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from agentic_watch import counted
from agentic_watch.history import history_file
from agentic_watch.history.columns import commit_id
from agentic_watch.history.history_file import Inode

_COUNTED = "(SELECT count(*) FROM dispatch_history)"
_WANTED = "(SELECT rows FROM upkeep)"
_NUMBERED = "(SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'dispatch_history')"
_NAMELESS = "(SELECT count(*) FROM dispatch_history WHERE commit_id IS NULL)"

_UNUSED = f"{_NUMBERED} - {_WANTED}"


class NewestRow(NamedTuple):
    """The newest row, and how many used ids have no row: one more for each row that is removed."""

    id: int
    commit_id: str
    unused: int


class _Count(NamedTuple):
    """The state of a history when its count was right: the schema's version, and the newest row."""

    version: int
    newest: NewestRow


_counted: dict[Inode, _Count] = {}
"""Cached, because counting ten million rows takes 0.3 to 10 s, and the daemon checks its history every few minutes."""


def is_in_order(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the number of dispatches is as expected and each has its commit id.

    Rows are counted once per process, and again when ids and rows have not grown equally since (SQL inserts use an id,
    deletes leave one unused), or when the content was replaced (a restored copy, a foreign WAL).
    """
    if connection.execute(f"SELECT {_NAMELESS}").fetchone()[0]:
        return False
    (version,) = connection.execute("PRAGMA schema_version").fetchone()
    inode = history_file.inode_of(path)
    before = _counted.pop(inode, None) if inode is not None else None
    if before is None or before.version != version or not is_there(connection, before.newest):
        counted, wanted = connection.execute(f"SELECT {_COUNTED}, {_WANTED}").fetchone()
        if counted != wanted:
            return False
    if inode is not None and (last := newest(connection)):
        _counted[inode] = _Count(version, last)
    return True


def newest(connection: sqlite3.Connection) -> NewestRow | None:
    """The newest row; None when there is none."""
    found = connection.execute(
        f"SELECT id, commit_id, {_UNUSED} FROM dispatch_history ORDER BY id DESC LIMIT 1"
    ).fetchone()
    return NewestRow(*found) if found is not None else None


def is_there(connection: sqlite3.Connection, former: NewestRow) -> bool:
    """Whether a former newest row still exists, and no row was removed since: otherwise this may be an older copy or
    another history."""
    sql = f"SELECT id, commit_id, {_UNUSED} FROM dispatch_history WHERE id = ?"
    found: tuple[int, str, int] | None = connection.execute(sql, former[:1]).fetchone()
    return found == former


def take_stock(connection: sqlite3.Connection) -> str:
    """Distrust the state of every workspace and complete the rows, within the caller's transaction; returns a notice.

    Fewer dispatches than expected mean a salvaged file, more mean SQL inserts.
    """
    found, wanted, nameless = connection.execute(f"SELECT {_COUNTED}, {_WANTED}, {_NAMELESS}").fetchone()
    connection.create_function("commit_id", 4, commit_id, deterministic=True)
    connection.execute(
        "UPDATE OR IGNORE dispatch_history SET commit_id = commit_id(root, workspace, updated_utc, runs) "
        "WHERE commit_id IS NULL"
    )
    connection.execute("UPDATE workspaces SET signature = x'', journal = x''")
    connection.execute("UPDATE upkeep SET rows = ?, searched_to = 0", (found,))
    return (
        f"holds {counted(found, 'dispatch')} where {wanted} were counted, {nameless} of them inserted or renamed by "
        "SQL; every workspace is read once more"
    )
