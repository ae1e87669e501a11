"""What all JSON answers say alike: the shape's number, what was examined, rates, what is absent.

An answer that has rows, whoever asked: what every form of it is made from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from agentic_watch.answers.past.filters import Filter
from agentic_watch.answers.past.outcomes import Rate
from agentic_watch.answers.past.source import Source

SCHEMA = 2
"""The shape of the JSON documents; a change that breaks a reader increments it."""
COMMIT_SCHEMA = 1
"""The shape of what `--once` and `commit` print, which is core-agent's and stays."""

_NUMBERS = ("issue", "pid")
"""Numbers that are 0 when there is none."""


def head(source: Source, wanted: Filter, examined: int) -> dict[str, Any]:
    """How every answer begins: its span (null where it is open), the start of the history, how much was examined."""
    return {
        "schema": SCHEMA,
        "since": wanted.since or None,
        "until": wanted.until or None,
        "history_since": speaks_from(source) or None,
        "examined_count": examined,
    }


def absent_as_null(row: dict[str, Any]) -> dict[str, Any]:
    """A row in which what the status file did not say ("", no issue, no pid) is null."""
    return {name: None if value == "" or (value == 0 and name in _NUMBERS) else value for name, value in row.items()}


def speaks_from(source: Source) -> str:
    """`updated_utc` of the first commit that the history knows; "" when it is empty."""
    sql = f"SELECT d.updated_utc FROM {source.dialect.commits} AS d ORDER BY d.updated_utc ASC LIMIT 1"
    return next((str(first) for (first,) in source.rows(sql)), "")


def rate(value: Rate) -> dict[str, Any]:
    """A rate with both its numbers, its 95 % interval, and whether there are enough to compare it."""
    low, high = value.interval() or (None, None)
    return {
        "passed_count": value.passed,
        "judged_count": value.judged,
        "rate": value.value,
        "low": low,
        "high": high,
        "ranked": value.ranked,
    }


class Answer(NamedTuple):
    """All rows under the names in `columns`, and `head`: what JSON says before them."""

    head: dict[str, Any]
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]

    def document(self, shown: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The JSON document with the rows that are shown, and the number of all."""
        return {**self.head, "rows_count": len(self.rows), "rows": shown}
