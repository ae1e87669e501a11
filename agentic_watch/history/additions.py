"""What was added to the schema since it has its number: indexes, triggers and derived tables, nothing of the record.

A history that an earlier program of this schema made gets them when it is opened to be written. That program can go on
with it, and so can one that only reads and finds none of them.
"""

from __future__ import annotations

import re
import sqlite3

from agentic_watch.history import newest_commits
from agentic_watch.history import table_definitions as tables

_FORMER = {
    "dispatch_history_counted": "INDEX",
    "dispatch_history_repo": "INDEX",
    "dispatch_history_workspace": "INDEX",
    "finding_totals": "TABLE",
}
"""What others do now, and what it was. Whatever somebody made for questions of his own stays."""

_NAME = re.compile(r"CREATE (?:TABLE|INDEX|TRIGGER) (\w+)")
_WANTED = {
    match[1]: statement
    for statement in (*newest_commits.TABLES, *tables.INDEXES, *tables.TRIGGERS, *newest_commits.TRIGGERS)
    if (match := _NAME.match(statement.strip()))
}
"""By name, in an order in which they can be made."""


def are_there(connection: sqlite3.Connection) -> bool:
    """Whether the history has all of them, and nothing of what they stand for now."""
    there = _there(connection)
    return all(_is_as_wanted(there, name) for name in _WANTED) and there.keys().isdisjoint(_FORMER)


def make(connection: sqlite3.Connection) -> None:
    """Make what is lacking, within the transaction that the caller holds. Takes seconds for a million dispatches."""
    there = _there(connection)
    for name, statement in _WANTED.items():
        if statement.startswith("CREATE TRIGGER") and not _is_as_wanted(there, name):
            connection.execute(f"DROP TRIGGER IF EXISTS {name}")
            there.pop(name, None)
    for name, kind in _FORMER.items():
        connection.execute(f"DROP {kind} IF EXISTS {name}")
    for name, statement in _WANTED.items():
        if name not in there:
            connection.execute(statement)
    newest_commits.forget(connection)  # without the triggers it may be wrong by now


def _there(connection: sqlite3.Connection) -> dict[str, str]:
    return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def _is_as_wanted(there: dict[str, str], name: str) -> bool:
    """A trigger says what it does; of a table or an index the name is enough."""
    wanted = _WANTED[name]
    return there.get(name) == wanted if wanted.startswith("CREATE TRIGGER") else name in there
