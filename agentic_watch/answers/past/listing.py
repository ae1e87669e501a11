"""Which dispatches are there? Newest first, as an index gives them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from agentic_watch.answers.documents import SCHEMA
from agentic_watch.answers.past.filters import NAMED, Filter, where
from agentic_watch.answers.past.source import Source
from agentic_watch.config.checks import nearest

_FLAGS = ("passed", "build_passed", "test_passed", "lint_passed")
_SUGGESTED = (*NAMED, "agent", "branch")
_DISTINCT = 10_000


def dispatches(
    source: Source, wanted: Filter, columns: Sequence[str] = ("d.*",), limit: int = 0
) -> Iterator[dict[str, Any]]:
    """Columns of the wanted commits (`d`), newest `updated_utc` first, at most `limit` (0: all)."""
    sql, values = statement(source, wanted, columns, limit)
    return source.named(sql, values)


def statement(
    source: Source, wanted: Filter, columns: Sequence[str] = ("d.*",), limit: int = 0
) -> tuple[str, list[object]]:
    """The question of `dispatches` and its values. Pure."""
    condition, values = where(source, wanted)
    words = source.dialect
    order = f"ORDER BY d.updated_utc DESC, {words.key} DESC"
    # Written into the text: an engine that plans before it knows the values would prepare for all rows.
    last = f" LIMIT {int(limit)}" if limit else ""
    return f"SELECT {', '.join(columns)} FROM {words.commits} AS d{condition} {order}{last}", values


def document(row: dict[str, Any]) -> dict[str, Any]:
    """A row, or some of its columns, for JSON: verdicts are true, false or null, the report is an object."""
    flags = {name: bool(row[name]) for name in _FLAGS if row.get(name) is not None}
    report = {"report": json.loads(row["report"])} if row.get("report") else {}
    return {"schema": SCHEMA, **row, **flags, **report}


def head(source: Source, wanted: Filter, examined: int) -> dict[str, Any]:
    """How every answer begins: its span (null where it is open), the start of the history, how much was examined."""
    return {
        "schema": SCHEMA,
        "since": wanted.since or None,
        "until": wanted.until or None,
        "history_since": oldest(source) or None,
        "examined_count": examined,
    }


def total(source: Source) -> tuple[int, str]:
    """How many commits there are at all, and `updated_utc` of the first one ("" when there is none)."""
    ((count, first),) = source.rows(f"SELECT count(*), min(d.updated_utc) FROM {source.dialect.commits} AS d")
    return int(count), first or ""


def newest(source: Source) -> str:
    """`updated_utc` of the newest commit; "" when there is none."""
    return _at_end(source, "DESC")


def oldest(source: Source) -> str:
    """`updated_utc` of the first commit that the history knows; "" when it is empty."""
    return _at_end(source, "ASC")


def _at_end(source: Source, order: str) -> str:
    sql = f"SELECT d.updated_utc FROM {source.dialect.commits} AS d ORDER BY d.updated_utc {order} LIMIT 1"
    return next((str(updated) for (updated,) in source.rows(sql)), "")


def near(source: Source, wanted: Filter) -> Iterator[tuple[str, str]]:
    """For each filter whose value no commit has: its name and the value that it may have meant."""
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
