"""Are all dispatches there that should be? A salvaged file has fewer, and somebody may have inserted some by SQL."""

from __future__ import annotations

import sqlite3

from agentic_watch.history import ownership
from agentic_watch.history.ownership import Inode
from agentic_watch.history.rows import commit_id

_COUNTED = "(SELECT count(*) FROM dispatch_history)"
_WANTED = "(SELECT rows FROM upkeep)"
_NUMBERED = "(SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'dispatch_history')"
_NAMELESS = "(SELECT count(*) FROM dispatch_history WHERE commit_id IS NULL)"

_counted: dict[Inode, tuple[int, int]] = {}
"""Histories in which all were counted and there: how many numbers had been used by then for no row that is there, and
the version of the schema, which a restored copy changes, too. To count ten million takes from a third of a second to
ten, and the daemon looks at its history every few minutes."""


def is_in_order(connection: sqlite3.Connection, path: str) -> bool:
    """Whether there are as many dispatches as there should be, each with its commit id.

    They are counted once by a process, and again when numbers and rows have not grown alike since: who inserts by SQL
    uses a number, and who deletes leaves one behind.
    """
    wanted, numbered, nameless = connection.execute(f"SELECT {_WANTED}, {_NUMBERED}, {_NAMELESS}").fetchone()
    if nameless:
        return False
    inode = ownership.inode_of(path)
    (version,) = connection.execute("PRAGMA schema_version").fetchone()
    if inode is not None and _counted.get(inode) == (numbered - wanted, version):
        return True
    counted, wanted, numbered = connection.execute(f"SELECT {_COUNTED}, {_WANTED}, {_NUMBERED}").fetchone()
    if counted != wanted:
        return False
    if inode is not None:
        _counted[inode] = numbered - wanted, version
    return True


def take_stock(connection: sqlite3.Connection) -> str:
    """Have no workspace's state trusted, and what the rows lack made, within the caller's transaction; gives a notice.

    With fewer dispatches than were counted the file was salvaged, with more somebody inserted them by SQL.
    """
    counted, wanted, nameless = connection.execute(f"SELECT {_COUNTED}, {_WANTED}, {_NAMELESS}").fetchone()
    connection.create_function("commit_id", 4, commit_id, deterministic=True)
    connection.execute(
        "UPDATE OR IGNORE dispatch_history SET commit_id = commit_id(root, workspace, updated_utc, runs) "
        "WHERE commit_id IS NULL"
    )
    connection.execute("UPDATE workspaces SET signature = x'', journal = x''")
    (end,) = connection.execute("SELECT ifnull(max(id), 0) + 1 FROM dispatch_history").fetchone()
    connection.execute("UPDATE upkeep SET rows = ?, search_from = max(search_from, ?)", (counted, end))
    return (
        f"holds {counted} dispatches where {wanted} were counted, {nameless} of them inserted or renamed by SQL; "
        "every workspace is read once more"
    )
