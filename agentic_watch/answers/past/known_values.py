"""Values in the history for shell completion and "did you mean", fast enough for a key press."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

from agentic_watch.answers.past.filters import NAMED, Filter
from agentic_watch.answers.past.sql_dialects import Source
from agentic_watch.config import KNOWN_STATUSES
from agentic_watch.config.value_checks import nearest
from agentic_watch.history import opening

_SUGGESTED = (*NAMED, "agent", "branch")
_DISTINCT = 10_000


def near(source: Source, wanted: Filter) -> Iterator[tuple[str, str]]:
    """For each filter whose value no commit has, its name and a similar value."""
    for name in _SUGGESTED:
        given = getattr(wanted, name)
        if not given:
            continue
        known = [value for (value,) in source.rows(f"{_distinct(source, name)} LIMIT {_DISTINCT}")]
        known += [agent.partition(":")[0] for agent in known] if name == "agent" else []
        for value in given:
            if value not in known and (found := nearest(value, known)):
                yield name, found


def _distinct(source: Source, column: str) -> str:
    return f"SELECT DISTINCT d.{column} FROM {source.dialect.commits} AS d WHERE d.{column} <> ''"


AT_MOST = 100
_NEWEST = 5_000
"""Rows read, newest first, for a column without an index."""
_LAST = "\U0010ffff"
_FIRST = {
    "repo": "SELECT min(repo) FROM dispatch_history WHERE repo >= ?1 AND repo < ?2",
    "workspace": "SELECT min(first) FROM (SELECT (SELECT min(d.workspace) FROM dispatch_history AS d "
    "WHERE d.root = roots.root AND d.workspace >= ?1 AND d.workspace < ?2) AS first FROM roots)",
}
"""SQL for columns with an index: the smallest value not below a given one."""


def known_values(history: str, name: str, prefix: str) -> list[str]:
    """At most AT_MOST values that begin with `prefix`, of a column, "on_disk" (existing workspaces) or "dispatch"
    (workspaces and ids). Raises HistoryError and HistoryRefused."""
    with opening.reading(history) as connection:
        return sorted(set(_FINDERS.get(name, _column(name))(connection, prefix)))[:AT_MOST]


_CALLED = {"pr": "pr_url", "commit": "head_commit", "session": "session_id"}
"""Columns of options with other names."""

Finder = Callable[[sqlite3.Connection, str], Iterator[str]]


def _column(name: str) -> Finder:
    return _from_index(name) if name in _FIRST else _from_newest(_CALLED.get(name, name))


def _from_index(name: str) -> Finder:
    """One index search per value, however many rows have it."""

    def find(connection: sqlite3.Connection, prefix: str) -> Iterator[str]:
        sql = _FIRST[name]
        (value,) = connection.execute(sql, (prefix, prefix + _LAST)).fetchone()
        for _ in range(AT_MOST):
            if value is None:
                return
            yield value
            (value,) = connection.execute(sql.replace(">=", ">"), (value, prefix + _LAST)).fetchone()

    return find


def _from_newest(name: str) -> Finder:
    def find(connection: sqlite3.Connection, prefix: str) -> Iterator[str]:
        newest = f"SELECT {name} FROM dispatch_history ORDER BY updated_utc DESC LIMIT {_NEWEST}"
        for (value,) in connection.execute(f"SELECT DISTINCT {name} FROM ({newest})"):
            if value and str(value).startswith(prefix):
                yield str(value)

    return find


def _statuses(connection: sqlite3.Connection, prefix: str) -> Iterator[str]:
    yield from (status for status in KNOWN_STATUSES if status.startswith(prefix))
    yield from _from_newest("status")(connection, prefix)


def _on_disk(connection: sqlite3.Connection, prefix: str) -> Iterator[str]:
    sql = f"SELECT workspace FROM workspaces WHERE workspace >= ? AND workspace < ? LIMIT {AT_MOST}"
    yield from (name for (name,) in connection.execute(sql, (prefix, prefix + _LAST)))


def _dispatch(connection: sqlite3.Connection, prefix: str) -> Iterator[str]:
    yield from _from_index("workspace")(connection, prefix)
    yield from _on_disk(connection, prefix)
    if prefix.isdecimal():
        for (number,) in connection.execute(f"SELECT id FROM dispatch_history ORDER BY id DESC LIMIT {_NEWEST}"):
            if str(number).startswith(prefix):
                yield str(number)


_FINDERS: dict[str, Finder] = {"status": _statuses, "on_disk": _on_disk, "dispatch": _dispatch}
