"""Rows from another host's history, of this schema or an older one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from agentic_watch.exchange.exchange_errors import ExchangeError
from agentic_watch.exchange.incoming import Incoming, tables
from agentic_watch.fleet import outbox
from agentic_watch.history import schema
from agentic_watch.history.columns import (
    FINDING_COLUMNS,
    HISTORY_COLUMNS,
    USAGE_COLUMNS,
    model_of,
    report_of,
    usage_values,
)
from agentic_watch.history.read_only import connect_read_only
from agentic_watch.history.rows import Row, commit_id

_MADE = frozenset({"commit_id", *USAGE_COLUMNS})
"""Made anew: an older history has none, and what names a commit everywhere is not a thing to believe a file."""
_FINDINGS = ", ".join(f'"{name}"' for name in FINDING_COLUMNS)


def rows(incoming: Incoming) -> Iterator[Row]:
    """All rows with their findings, by number. The file is only read. Raises ExchangeError, OSError, sqlite3.Error."""
    with closing(connect_read_only(incoming.path)) as connection:
        version = schema.version(connection)
        if version > schema.VERSION:
            raise ExchangeError(f"{incoming.path}: has schema version {version}, newer than this program's; upgrade it")
        there = set(tables(connection)["dispatch_history"])
        if lacking := set(HISTORY_COLUMNS) - there - _MADE:
            raise ExchangeError(f"{incoming.path}: is no history of agentic-watch: lacks {', '.join(sorted(lacking))}")
        (incoming.size,) = connection.execute("SELECT count(*) FROM dispatch_history").fetchone()
        yield from _rows(connection, incoming)


def _rows(connection: sqlite3.Connection, incoming: Incoming) -> Iterator[Row]:
    columns = [name for name in HISTORY_COLUMNS if name not in _MADE]
    there = tables(connection)
    moved_to = "moved_to" if "moved_to" in there["dispatch_history"] else "NULL"
    has_kept = "kept_files" in there
    sql = f"SELECT id, {moved_to}, {', '.join(columns)} FROM dispatch_history ORDER BY id"
    for number, place, *values in connection.execute(sql):
        incoming.position += 1
        incoming.read += 1
        found: dict[str, Any] = dict(zip(columns, values, strict=True))
        found["commit_id"] = commit_id(found["root"], found["workspace"], found["updated_utc"], found["runs"])
        report = report_of(found["report"])
        found["model"] = model_of(found["agent"], report)
        found |= zip(USAGE_COLUMNS, usage_values(report), strict=True)
        findings = connection.execute(f"SELECT {_FINDINGS} FROM findings WHERE dispatch_id = ? ORDER BY id", (number,))
        kept = outbox.kept_of(connection, number) if has_kept else ()
        yield Row(tuple(found[name] for name in HISTORY_COLUMNS), tuple(findings), place, kept=kept)
