"""Redacts the history: rows, findings, search index, kept files, and the database pages that held them. Also redacts
imported rows.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from agentic_watch.config import KNOWN_STATUSES
from agentic_watch.exchange.slices import Slices
from agentic_watch.history import HistoryError, opening
from agentic_watch.history.columns import FINDING_COLUMNS, HISTORY_COLUMNS
from agentic_watch.history.rows import Row
from agentic_watch.history.store import History
from agentic_watch.host.retry import every, wait_until
from agentic_watch.workspace import kept_part
from agentic_watch.workspace.jsontext import dump
from agentic_watch.workspace.kept_part import KeptFile
from agentic_watch.workspace.redactor import Redactor, count, may_be_redacted

PATIENCE_MS = 60_000
"""How long to wait for other readers and writers of the history."""
_REBUILD_SEARCH = "INSERT INTO dispatch_search (dispatch_search) VALUES ('rebuild')"


_TEXT_COLUMNS = (
    *("repo", "org", "task", "agent", "model", "branch", "question", "process_id", "pr_url"),
    *("session_id", "head_commit"),
)
"""Columns that may have secrets, besides the report; the others are computed, or identify the commit."""

_TEXTS = tuple(HISTORY_COLUMNS.index(name) for name in _TEXT_COLUMNS)
_REPORT = HISTORY_COLUMNS.index("report")


@dataclass(frozen=True, slots=True)
class _Table:
    """A table: key columns, columns that may have secrets, and the column of the dispatch's id."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    dispatch: str = ""


_RECORD = (
    _Table("dispatch_history", ("id",), (*_TEXT_COLUMNS, "status", "report"), "id"),
    _Table("findings", ("id",), tuple(f'"{name}"' for name in FINDING_COLUMNS), "dispatch_id"),
    _Table("kept_files", ("dispatch_id", "name"), ("content",), "dispatch_id"),
)
_MADE_ANEW = ("dispatch_search", "about", "upkeep", "sqlite_")
"""Prefixes of tables that are rebuilt, or have no text of a workspace."""
_IDENTITY = ("root", "workspace", "seen_at", "updated_at", "updated_utc", "started_at", "started_utc")


def _tables(connection: sqlite3.Connection) -> list[_Table]:
    """All tables with texts of dispatches or workspaces, including those that a later schema adds."""
    names = [
        name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    ]
    known = {table.name for table in _RECORD}
    tables = [table for table in _RECORD if table.name in names]
    for name in names:
        if name in known or name.startswith(_MADE_ANEW):
            continue
        columns = connection.execute("SELECT name, type, pk FROM pragma_table_info(?)", (name,)).fetchall()
        key = tuple(column for column, _, place in sorted(columns, key=lambda column: column[2]) if place)
        texts = tuple(column for column, kind, place in columns if kind == "TEXT" and not place)
        if wanted := tuple(column for column in texts if column not in _IDENTITY):
            tables.append(_Table(name, key or ("rowid",), wanted))
    return tables


@dataclass(slots=True)
class Redacted:
    """The result: rows with secrets per table, secrets per kind, and the ids of the dispatches, including those
    redacted earlier, because other systems may have the original."""

    rows: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    dispatches: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Change:
    key: tuple[Any, ...]
    values: dict[str, Any]


OnProgress = Callable[[int], None]
"""Called with the number of rows examined."""


def look(history: str, without: Redactor, on_progress: OnProgress) -> Redacted:
    """Count rows with secrets without changing anything. Raises HistoryError, HistoryRefused."""
    found, looked = Redacted(), 0
    with opening.reading(history) as connection:
        for table in _tables(connection):
            after: tuple[Any, ...] = ()
            while page := _page(connection, table, after, 1_000):
                list(_changes(table, page, without, found))
                after, looked = page[-1][: len(table.key)], looked + len(page)
                on_progress(looked)
    return found


def redact(history: History, without: Redactor, found: Redacted, on_progress: OnProgress) -> None:
    """Redact all tables in slices: each is a transaction, and after an interruption the next call continues. The result
    is in `found`. Raises HistoryError, HistoryRefused."""
    slices, looked = Slices(), 0
    with history.reading() as connection:
        tables = _tables(connection)
    for table in tables:
        after: tuple[Any, ...] = ()
        while True:
            done = history.rebuilding(partial(_redact_some, history, table, after, without, slices))
            page_end, size, some = done
            if page_end is None:
                break
            found.rows += some.rows
            found.kinds += some.kinds
            found.dispatches |= some.dispatches
            after, looked = page_end, looked + size
            on_progress(looked)
            slices.pause()


def _redact_some(
    history: History, table: _Table, after: tuple[Any, ...], without: Redactor, slices: Slices
) -> tuple[tuple[Any, ...] | None, int, Redacted]:
    """Redact one slice: returns the key of its last row (None at the end), its size, and the changes."""
    some = Redacted()
    with history.transaction(durable=False) as connection, slices.one():
        # Overwrites deleted content in pages, even if the final rebuild of the file fails.
        connection.execute("PRAGMA secure_delete = ON")
        page = _page(connection, table, after, slices.size)
        for change in _changes(table, page, without, some):
            assignments = ", ".join(f"{name} = ?" for name in change.values)
            sql = f"UPDATE {table.name} SET {assignments} WHERE {_row_value(table)} = ({_marks(table)})"
            connection.execute(sql, (*change.values.values(), *change.key))
    return (page[-1][: len(table.key)] if page else None), len(page), some


def _row_value(table: _Table) -> str:
    return f"({', '.join(table.key)})"


def _marks(table: _Table) -> str:
    return ", ".join("?" * len(table.key))


def _page(
    connection: sqlite3.Connection, table: _Table, after: tuple[Any, ...], size: int
) -> Sequence[tuple[Any, ...]]:
    """The next rows: keys, the dispatch if any, and the columns that may have secrets."""
    where = f"WHERE {_row_value(table)} > ({_marks(table)})" if after else ""
    wanted = ", ".join((*table.key, table.dispatch or "NULL", *table.columns))
    order = ", ".join(table.key)
    return connection.execute(
        f"SELECT {wanted} FROM {table.name} {where} ORDER BY {order} LIMIT ?", (*after, size)
    ).fetchall()


def _changes(table: _Table, page: Sequence[tuple[Any, ...]], without: Redactor, found: Redacted) -> Iterator[_Change]:
    """The rows of a page that have secrets, with their redacted columns; counts them in `found`."""
    width = len(table.key)
    for row in page:
        values = {}
        for name, value in zip(table.columns, row[width + 1 :], strict=True):
            changed = _redacted(name, value, without)
            if changed != value:
                values[name] = changed
                found.kinds += count(_as_text(value), _as_text(changed))
        if table.dispatch and (values or any(may_be_redacted(_as_text(value)) for value in row[width + 1 :])):
            found.dispatches.add(row[width])
        if values:
            found.rows[table.name] += 1
            yield _Change(row[:width], values)


def _redacted(column: str, value: Any, without: Redactor) -> Any:
    if column == "report" or (column not in _TEXT_COLUMNS and str(value).startswith("{")):
        return _redacted_report(value, without)
    if column == "content":
        text = _as_text(value)
        changed = without.text(text)
        return value if changed == text else zlib.compress(changed.encode("utf-8", "surrogateescape"))
    if column == "status" and value in KNOWN_STATUSES:
        return value
    return _redacted_text(value, without)


def _redacted_report(report: str | None, without: Redactor) -> str | None:
    """Redact the JSON text of a report."""
    # An escape may be part of a secret or precede one: then the report is redacted text by text.
    if report is None or not ("\\" in report or without.may_change(report)):
        return report
    try:
        value = json.loads(report)
    except (ValueError, RecursionError):  # invalid, changed by SQL
        return without.text(report)
    changed = without.value(value)
    return report if changed == value else dump(changed)


def _redacted_text(value: Any, without: Redactor) -> Any:
    """Redact a value if it is a text."""
    return without.text(value) if isinstance(value, str) else value


def redacted(row: Row, without: Redactor) -> Row:
    """Redact an imported row; almost all rows have no secret, which one check shows."""
    kept = tuple(kept_part.redacted(file, without.text) for file in row.kept)
    given = itertools.chain((row.values[index] for index in _TEXTS), *row.findings)
    texts, report = [text for text in given if isinstance(text, str)], row.report or ""
    if "\\" not in report and not without.may_change("\n".join([*texts, report])):
        return row._replace(kept=kept)
    values, findings = list(row.values), row.findings
    if without.may_change("\n".join(texts)):
        for index in _TEXTS:
            values[index] = _redacted_text(values[index], without)
        findings = tuple(tuple(_redacted_text(value, without) for value in finding) for finding in findings)
    values[_REPORT] = _redacted_report(row.report, without)
    return row._replace(values=tuple(values), findings=findings, kept=kept)


def _as_text(value: Any) -> str:
    """A text unchanged; the content of a kept file as text."""
    if isinstance(value, bytes):
        return KeptFile("", 0, 0, value).data.decode("utf-8", "surrogateescape")
    return str(value)


def clean(history: History) -> None:
    """Rebuild the derived data and the whole file, so that no page of it or of its WAL has a secret.

    Raises HistoryError, also while another process keeps an older state open for too long.
    """
    history.rebuilding(partial(_rebuild, history))
    with history.reading() as connection:
        connection.execute("VACUUM")
    if not wait_until(lambda: _empty_log(history), every(0.1, PATIENCE_MS / 1000)):
        raise HistoryError(
            f"{history.path}: another process reads an older state, so the -wal file still has secrets; end that "
            "process (a dashboard, a backup) and run redact again"
        )


def _rebuild(history: History) -> None:
    with history.transaction() as connection:
        connection.execute(_REBUILD_SEARCH)


def _empty_log(history: History) -> bool:
    with history.reading() as connection, closing(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")) as answer:
        (busy, _, _) = answer.fetchone()
    return not busy


def named_by_secrets(history: str, without: Redactor) -> int:
    """Number of workspaces with a secret in their name, which identifies their commits and is kept. Raises
    HistoryError, HistoryRefused."""
    with opening.reading(history) as connection:
        names = connection.execute("SELECT DISTINCT workspace FROM dispatch_history")
        return sum(without.text(name) != name for (name,) in names)


def commit_ids(history: str, found: Redacted) -> list[str]:
    """The commit_ids of the dispatches. Raises HistoryError, HistoryRefused."""
    with opening.reading(history) as connection:
        sql = "SELECT commit_id FROM dispatch_history WHERE id = ?"
        return [row[0] for number in sorted(found.dispatches) for row in connection.execute(sql, (number,))]
