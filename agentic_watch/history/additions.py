"""What was added to the schema since it has its number: indexes, triggers and derived tables, nothing of the record.

A history that an earlier program of this schema made gets them when it is opened to be written. That program can go on
with it, and so can one that only reads and finds none of them.
"""

from __future__ import annotations

import re
import sqlite3

from agentic_watch.history import newest_commits
from agentic_watch.history import table_definitions as tables

_FORMER_INDEXES = ("dispatch_history_counted", "dispatch_history_workspace")
"""What others do now. Indexes that somebody made for questions of his own stay."""

_NAME = re.compile(r"CREATE (?:TABLE|INDEX|TRIGGER) (\w+)")
_WANTED = {
    match[1]: statement
    for statement in (*newest_commits.TABLES, *tables.INDEXES, *tables.TRIGGERS, *newest_commits.TRIGGERS)
    if (match := _NAME.match(statement.strip()))
}
"""By name, in an order in which they can be made."""


def are_there(connection: sqlite3.Connection) -> bool:
    """Whether the history has all of them, and nothing of what they stand for now."""
    names = _names(connection)
    return names >= _WANTED.keys() and names.isdisjoint(_FORMER_INDEXES)


def make(connection: sqlite3.Connection) -> None:
    """Make what is lacking, within the transaction that the caller holds. Takes seconds for a million dispatches."""
    names = _names(connection)
    for name in _FORMER_INDEXES:
        connection.execute(f"DROP INDEX IF EXISTS {name}")
    for name, statement in _WANTED.items():
        if name not in names:
            connection.execute(statement)
    newest_commits.forget(connection)  # without the triggers it may be wrong by now


def _names(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
