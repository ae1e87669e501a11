"""What dispatches used: tokens, turns and money, as their agents' programs said it. There is no price list here.

Each sum is of the dispatches that say it, which are counted beside it: what is not known is not 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentic_watch.answers.exact_sums import UNKNOWN, Total
from agentic_watch.history.columns import COST_COLUMN, TOKEN_COLUMNS

COST = COST_COLUMN
"""In millionths of a dollar."""
KINDS = (*TOKEN_COLUMNS, "turns", COST)
"""Each kind of tokens apart: input is without what came from a cache or went into one, output with the reasoning."""

_LEAST_KNOWN_PERCENT = 95

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
    if not passed or cost.known * 100 < dispatches * _LEAST_KNOWN_PERCENT:
        return None
    return (2 * cost.sum + passed) // (2 * passed)


def sum_document(total: Total) -> dict[str, Any]:
    """A sum for JSON."""
    return {"sum": total.value, "known_count": total.known}


def document(used: Used) -> dict[str, Any]:
    """Each sum for JSON."""
    return {kind: sum_document(used[kind]) for kind in KINDS}
