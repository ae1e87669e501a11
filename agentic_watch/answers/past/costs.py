"""What dispatches used: tokens, turns and money, as their agents' programs said it. There is no price list here.

Each sum is of the dispatches that say it, which are counted beside it: what is not known is not 0.

Sums of what agents report, exact also where they are more than an engine's whole numbers hold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agentic_watch.history.columns import COST_COLUMN, TOKEN_COLUMNS

_BITS = 32
_LOW = 2**_BITS - 1


class Total(NamedTuple):
    """The sum of what is known, and of how many dispatches it is."""

    sum: int = 0
    known: int = 0

    @property
    def value(self) -> int | None:
        """The sum; None when nothing is known, which is not 0."""
        return self.sum if self.known else None

    def plus(self, other: Total) -> Total:
        """Both together."""
        return Total(self.sum + other.sum, self.known + other.known)


UNKNOWN = Total()


def summed(*columns: str) -> str:
    """Three expressions in SQL that `totals` makes one sum of: of the columns together, where each of them is known.

    In two halves: the sum of one column may be too much for 64 bits (https://sqlite.org/lang_aggfunc.html#sumunc).
    """
    high = " + ".join(f"({column} >> {_BITS})" for column in columns)
    low = " + ".join(f"({column} & {_LOW})" for column in columns)
    return f"sum({high}), sum({low}), count({low})"


def totals(rows: Sequence[Sequence[int | None]]) -> list[Total]:
    """The sums over rows of which each has three numbers for each of them; [] for no rows."""
    sums = [sum(filter(None, column)) for column in zip(*rows, strict=True)]
    return [
        Total((high << _BITS) + low, known) for high, low, known in zip(sums[::3], sums[1::3], sums[2::3], strict=True)
    ]


COST = COST_COLUMN
"""In millionths of a dollar."""
KINDS = (*TOKEN_COLUMNS, "turns", COST)
"""Each kind of tokens apart: input is without what came from a cache or went into one, output with the reasoning."""

LEAST_KNOWN_PERCENT = 95

Used = Mapping[str, Total]
"""By each of KINDS."""

NOTHING: Used = dict.fromkeys(KINDS, UNKNOWN)


def together(one: Used, other: Used) -> dict[str, Total]:
    """What two groups of dispatches used."""
    return {kind: one[kind].plus(other[kind]) for kind in KINDS}


def per_passed(cost: Total, dispatches: int, passed: int) -> int | None:
    """What it cost (millionths of a dollar) until one passed: the cost of all, failed ones too, by those that passed.

    None when none passed, and when the cost of fewer than 95 in a hundred is known.
    """
    if not passed or cost.known * 100 < dispatches * LEAST_KNOWN_PERCENT:
        return None
    return (2 * cost.sum + passed) // (2 * passed)


def sum_document(total: Total) -> dict[str, Any]:
    """A sum for JSON."""
    return {"sum": total.value, "known_count": total.known}


def document(used: Used) -> dict[str, Any]:
    """Each sum for JSON."""
    return {kind: sum_document(used[kind]) for kind in KINDS}
