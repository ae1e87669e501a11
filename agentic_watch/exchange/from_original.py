"""Rows from the original's store: a SQLite file of key and value, JSON in both of its groups.

`dispatch_history` holds the last record of each workspace, as in its journal; `stats` a summary that outlives it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from typing import Any

from agentic_watch.exchange.exchange_errors import ExchangeError
from agentic_watch.exchange.incoming import Incoming
from agentic_watch.fleet import interchange
from agentic_watch.history.columns import HISTORY_COLUMNS
from agentic_watch.history.read_only import connect_read_only
from agentic_watch.history.rows import Row
from agentic_watch.workspace import instant
from agentic_watch.workspace.jsontext import MAX_DEPTH, MAX_VALUES, load_object
from agentic_watch.workspace.layout import name_problem
from agentic_watch.workspace.workspace_errors import Malformed

COLUMNS = frozenset({"group_name", "entry_key", "entry_value"})
TABLE = "entries"
_RECORDS, _STATS = "dispatch_history", "stats"
_VERDICTS = ("passed", "build_passed", "test_passed", "lint_passed")
_CHANGES = ("files_changed", "insertions", "deletions")
_SECOND = 19
"""Characters of a time without its fraction: a summary has no more of it."""

Known = Collection[tuple[str, int, str]]
"""(workspace, runs, updated_utc to the second) of what is recorded already: a summary adds nothing to it."""


def rows(incoming: Incoming, known: Known) -> Iterator[Row]:
    """The rows of all records, then of the summaries of what no record tells. Raises ExchangeError, sqlite3.Error."""
    if incoming.root is None:
        raise ExchangeError(
            f"{incoming.path}: its records name no root; configure the one that they are of, or name it with --as"
        )
    seen = set(known)
    with closing(connect_read_only(incoming.path)) as connection:
        sql = f"SELECT count(*) FROM {TABLE} WHERE group_name IN (?, ?)"
        (incoming.size,) = connection.execute(sql, (_RECORDS, _STATS)).fetchone()
        for key, found in _values(connection, _RECORDS, incoming):
            yield from _checked(key, found, incoming, seen)
        for key, found in _values(connection, _STATS, incoming):
            yield from _checked(key, _from_stats(found), incoming, seen, only_new=True)


def _values(connection: sqlite3.Connection, group: str, incoming: Incoming) -> Iterator[tuple[str, dict[str, Any]]]:
    sql = f"SELECT entry_key, entry_value FROM {TABLE} WHERE group_name = ? ORDER BY entry_key"
    for key, value in connection.execute(sql, (group,)):
        incoming.position += 1
        incoming.read += 1
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
        try:
            yield str(key), load_object(data, f"{group} {key}", 3 * MAX_VALUES, MAX_DEPTH + 2)
        except Malformed as error:
            incoming.fault(f"{group} {key}", error.cause)


def _checked(
    key: str, found: dict[str, Any], incoming: Incoming, seen: set[tuple[str, int, str]], *, only_new: bool = False
) -> Iterator[Row]:
    whole = {"workspace": key, **found, "root": incoming.root, "host": incoming.host}
    try:
        if not isinstance(whole["workspace"], str) or name_problem(whole["workspace"]):
            raise Malformed(key, "has no workspace that can be one")
        row = interchange.row(whole)
    except Malformed as error:
        incoming.fault(key, error.cause)
        return
    values = dict(zip(HISTORY_COLUMNS, row.values, strict=True))
    identity = values["workspace"], values["runs"], values["updated_utc"][:_SECOND]
    if not (only_new and identity in seen):
        seen.add(identity)
        yield row


def _from_stats(found: dict[str, Any]) -> dict[str, Any]:
    """A summary as a record: what it calls otherwise; a time that it leaves out is unset."""
    report = {name: found[name] for name in _VERDICTS if name in found}
    changes = {name: found[name] for name in _CHANGES if name in found}
    record = {name: value for name, value in found.items() if name not in (*_VERDICTS, *_CHANGES)}
    record["committed_at"] = found.get("completed_at")
    record["started_at"] = found.get("started_at") or instant.ZERO_TEXT
    record["report"] = report | ({"changes": changes} if changes else {})
    record["changes"] = changes
    return record
