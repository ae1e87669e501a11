"""What all JSON answers say alike: the shape's number, what was looked at, rates."""

from __future__ import annotations

from typing import Any

from agentic_watch.answers.filters import Wanted
from agentic_watch.answers.rates import Rate
from agentic_watch.answers.source import Source

SCHEMA = 1
"""The shape of every JSON document; a change that breaks a reader counts it up."""


def head(source: Source, wanted: Wanted, looked_at: int) -> dict[str, Any]:
    """How every answer begins: its span (null where it is open), since when is known, how many rows there were."""
    return {
        "schema": SCHEMA,
        "since": wanted.since or None,
        "until": wanted.until or None,
        "history_since": speaks_from(source) or None,
        "looked_at": looked_at,
    }


def speaks_from(source: Source) -> str:
    """`updated_utc` of the first commit that the history knows; "" when it is empty."""
    sql = f"SELECT d.updated_utc FROM {source.dialect.commits} AS d ORDER BY d.updated_utc ASC LIMIT 1"
    return next((str(first) for (first,) in source.rows(sql)), "")


def rate(value: Rate) -> dict[str, Any]:
    """A rate with both its numbers, its 95 % interval, and whether there are enough to compare it."""
    low, high = value.interval() or (None, None)
    return {
        "passed": value.passed,
        "judged": value.judged,
        "rate": value.value,
        "low": low,
        "high": high,
        "ranked": value.ranked,
    }
