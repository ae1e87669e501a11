"""A history without the numbers of its header, as `sqlite3 OLD .dump | sqlite3 NEW` leaves it: is it one of ours?"""

from __future__ import annotations

import contextlib
import sqlite3

from agentic_watch.history.history_errors import HistoryNotOurs

TABLES = frozenset({"dispatch_history", "findings", "workspaces"})
"""What every history has, of whatever schema."""

_RECORD = ("dispatch_history", "findings", "kept_files", "workspaces", "about", "upkeep")


def names(connection: sqlite3.Connection) -> set[str]:
    """The names of a database's tables."""
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def is_ours(connection: sqlite3.Connection) -> bool:
    """Whether the tables are those of this program's schema, to the last column."""
    from agentic_watch.history import table_definitions as tables  # rarely needed

    with contextlib.closing(sqlite3.connect(":memory:")) as wanted:
        for statement in tables.CREATE:
            wanted.execute(statement)
        return _columns(connection) == _columns(wanted) and "dispatch_search" in names(connection)


def refusal(path: str) -> HistoryNotOurs:
    """What is raised for tables that are not ours and have no version."""
    return HistoryNotOurs(
        f"{path}: has the tables of a history, but no schema version and not today's columns; nothing was changed. "
        f"`agentic-watch --history NEW import {path}` takes its dispatches into another history"
    )


def _columns(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    sql = 'SELECT name, type, "notnull", pk FROM pragma_table_info(?) ORDER BY cid'
    return [(table, *column) for table in _RECORD for column in connection.execute(sql, (table,))]
