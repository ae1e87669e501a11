"""How did a dispatch end? What a status means for every rate that is told.

How many of how many, and how sure that is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from agentic_watch.config import Answers

Outcome = Literal["passed", "failed", "waiting", "unjudged"]

ORDER: tuple[Outcome, ...] = ("passed", "failed", "waiting", "unjudged")
"""As they are told."""

STANDARD: Mapping[str, Outcome] = {
    "completed": "passed",
    "merged": "passed",
    "ready-for-review": "passed",
    "failed": "failed",
    "rejected": "failed",
    "blocked": "waiting",
}
"""The statuses that every dispatcher has. A verdict in the report changes none of them: it is shown beside."""

MERGED = "merged"


class Outcomes(NamedTuple):
    """The outcome of each status; `more` are the statuses of other dispatchers, from the configuration."""

    more: tuple[tuple[str, Outcome], ...] = ()

    def of(self, status: str) -> Outcome:
        """The outcome of a dispatch with this status."""
        return dict(self.more).get(status) or STANDARD.get(status, "unjudged")

    def statuses(self, *outcomes: Outcome) -> tuple[str, ...]:
        """The statuses that mean one of these outcomes."""
        table = {**STANDARD, **dict(self.more)}
        return tuple(sorted(status for status, outcome in table.items() if outcome in outcomes))


def from_config(answers: Answers) -> Outcomes:
    """What the statuses mean here; where the configuration names one twice, it failed rather than passed."""
    more: dict[str, Outcome] = dict.fromkeys(answers.waiting, "waiting")
    more |= dict.fromkeys(answers.passed, "passed")
    more |= dict.fromkeys(answers.failed, "failed")
    return Outcomes(tuple(more.items()))


LEAST_TO_RANK = 20
"""Of fewer judged dispatches a rate is shown and not ranked: its interval spans half of all there is."""

_Z = 1.959963984540054
"""The normal distribution's 97.5 % point: two sides of 95 %."""


class Rate(NamedTuple):
    """`passed` of `judged` dispatches."""

    passed: int
    judged: int

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None when nothing was judged."""
        return self.passed / self.judged if self.judged else None

    @property
    def ranked(self) -> bool:
        """Whether there are enough to be compared with others."""
        return self.judged >= LEAST_TO_RANK

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of Wilson (1927), 0 to 1; None when nothing was judged."""
        if not self.judged:
            return None
        share, square = self.passed / self.judged, _Z * _Z / self.judged
        middle = (share + square / 2) / (1 + square)
        half = _Z / (1 + square) * math.sqrt(share * (1 - share) / self.judged + square / (4 * self.judged))
        # Where none or all passed the bound is exact; what the sum above leaves there is rounding.
        low = max(0.0, middle - half) if self.passed else 0.0
        return low, min(1.0, middle + half) if self.passed < self.judged else 1.0

    def document(self) -> dict[str, Any]:
        """For JSON: both its numbers, its 95 % interval, and whether there are enough to compare it."""
        low, high = self.interval() or (None, None)
        return {
            "passed_count": self.passed,
            "judged_count": self.judged,
            "rate": self.value,
            "low": low,
            "high": high,
            "ranked": self.ranked,
        }

    def differs(self, other: Rate) -> bool:
        """Whether both can be ranked and their intervals have nothing in common."""
        mine, others = self.interval(), other.interval()
        if mine is None or others is None or not (self.ranked and other.ranked):
            return False
        return mine[0] > others[1] or mine[1] < others[0]


def percentile(ordered: Sequence[int], percent: int) -> int | None:
    """The smallest of the ordered values that so many percent do not exceed (nearest rank); None when there is none."""
    if not ordered:
        return None
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def median(ordered: Sequence[int]) -> int | None:
    """The middle of the ordered values, of two middle ones what lies between (rounded down); None of none."""
    if not ordered:
        return None
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) // 2
