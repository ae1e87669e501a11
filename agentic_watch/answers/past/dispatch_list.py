"""Lists dispatches, newest first, and builds the head of every answer from the history."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from agentic_watch.answers.answer_shape import SCHEMA
from agentic_watch.answers.past.filters import Filter, where
from agentic_watch.answers.past.sql_dialects import Source
from agentic_watch.history.columns import report_of

_FLAGS = ("passed", "build_passed", "test_passed", "lint_passed")


def dispatches(
    source: Source, wanted: Filter, columns: Sequence[str] = ("d.*",), limit: int = 0
) -> Iterator[dict[str, Any]]:
    """Columns of the wanted commits (`d`), newest `updated_utc` first, at most `limit` (0: all)."""
    sql, values = statement(source, wanted, columns, limit)
    return source.named(sql, values)


def statement(
    source: Source, wanted: Filter, columns: Sequence[str] = ("d.*",), limit: int = 0
) -> tuple[str, list[object]]:
    """The SQL of `dispatches` and its values. Pure."""
    condition, values = where(source, wanted)
    words = source.dialect
    order = f"ORDER BY d.updated_utc DESC, {words.key} DESC"
    # A literal: an engine that plans without the values would plan for all rows.
    last = f" LIMIT {int(limit)}" if limit else ""
    return f"SELECT {', '.join(columns)} FROM {words.commits} AS d{condition} {order}{last}", values


def document(row: dict[str, Any]) -> dict[str, Any]:
    """The JSON of a row or of some columns: verdicts are true, false or null, the report is an object."""
    flags = {name: bool(row[name]) for name in _FLAGS if row.get(name) is not None}
    report = {"report": report_of(row["report"])} if row.get("report") else {}
    return {"schema": SCHEMA, **row, **flags, **report}


def head(source: Source, wanted: Filter, examined: int) -> dict[str, Any]:
    """The head of every answer: its span (null where open), the start of the history, the number examined."""
    return {
        "schema": SCHEMA,
        "since": wanted.since or None,
        "until": wanted.until or None,
        "history_since": oldest(source) or None,
        "examined_count": examined,
    }


def total(source: Source) -> tuple[int, str]:
    """The number of all commits, and `updated_utc` of the first one ("" when there is none)."""
    ((count, first),) = source.rows(f"SELECT count(*), min(d.updated_utc) FROM {source.dialect.commits} AS d")
    return int(count), first or ""


def newest(source: Source) -> str:
    """`updated_utc` of the newest commit; "" when there is none."""
    return _at_end(source, "DESC")


def oldest(source: Source) -> str:
    """`updated_utc` of the oldest commit; "" when there is none."""
    return _at_end(source, "ASC")


def _at_end(source: Source, order: str) -> str:
    sql = f"SELECT d.updated_utc FROM {source.dialect.commits} AS d ORDER BY d.updated_utc {order} LIMIT 1"
    return next((str(updated) for (updated,) in source.rows(sql)), "")
