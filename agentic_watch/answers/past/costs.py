"""Sums of tokens, turns and cost, as reported by the agents' programs; there is no price list.

Each sum includes the number of dispatches that report the value: unknown is not 0. Sums are exact even beyond an
engine's 64-bit integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agentic_watch.history.columns import COST_COLUMN, TOKEN_COLUMNS

_BITS = 32
_LOW = 2**_BITS - 1


class Total(NamedTuple):
    """The sum of known values, and the number of dispatches that have one."""

    sum: int = 0
    known: int = 0

    @property
    def value(self) -> int | None:
        """The sum; None when no value is known."""
        return self.sum if self.known else None

    def plus(self, other: Total) -> Total:
        """The sum of both."""
        return Total(self.sum + other.sum, self.known + other.known)


UNKNOWN = Total()


def summed(*columns: str) -> str:
    """Three SQL expressions, from which `totals` makes the sum of the columns over rows where all are known.

    Summed in two halves, because one sum may exceed 64 bits (https://sqlite.org/lang_aggfunc.html#sumunc).
    """
    high = " + ".join(f"({column} >> {_BITS})" for column in columns)
    low = " + ".join(f"({column} & {_LOW})" for column in columns)
    return f"sum({high}), sum({low}), count({low})"


def totals(rows: Sequence[Sequence[int | None]]) -> list[Total]:
    """Combine rows of three numbers per sum; [] for no rows."""
    sums = [sum(filter(None, column)) for column in zip(*rows, strict=True)]
    return [
        Total((high << _BITS) + low, known) for high, low, known in zip(sums[::3], sums[1::3], sums[2::3], strict=True)
    ]


COST = COST_COLUMN
"""In millionths of a dollar."""
KINDS = (*TOKEN_COLUMNS, "turns", COST)
"""The kinds of usage. Input tokens exclude cache reads and writes; output tokens include reasoning."""

LEAST_KNOWN_PERCENT = 95

Used = Mapping[str, Total]
"""By each of KINDS."""

NOTHING: Used = dict.fromkeys(KINDS, UNKNOWN)


def together(one: Used, other: Used) -> dict[str, Total]:
    """The usage of two groups together."""
    return {kind: one[kind].plus(other[kind]) for kind in KINDS}


def per_passed(cost: Total, dispatches: int, passed: int) -> int | None:
    """Cost per passed dispatch (millionths of a dollar): the cost of all, including failed ones, divided by those
    passed.

    None when none passed, or when the cost of fewer than 95 % is known.
    """
    if not passed or cost.known * 100 < dispatches * LEAST_KNOWN_PERCENT:
        return None
    return (2 * cost.sum + passed) // (2 * passed)


def sum_document(total: Total) -> dict[str, Any]:
    """The JSON of a sum."""
    return {"sum": total.value, "known_count": total.known}


def document(used: Used) -> dict[str, Any]:
    """The JSON of all sums."""
    return {kind: sum_document(used[kind]) for kind in KINDS}
