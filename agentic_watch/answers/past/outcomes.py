"""Maps statuses to outcomes (passed, failed, waiting, unjudged), and computes rates with confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from agentic_watch.config import Answers

Outcome = Literal["passed", "failed", "waiting", "unjudged"]

ORDER: tuple[Outcome, ...] = ("passed", "failed", "waiting", "unjudged")
"""The order of output."""

STANDARD: Mapping[str, Outcome] = {
    "completed": "passed",
    "merged": "passed",
    "ready-for-review": "passed",
    "failed": "failed",
    "rejected": "failed",
    "blocked": "waiting",
}
"""Outcomes of the standard statuses. Verdicts in the report do not change them; they are shown separately."""

MERGED = "merged"


class Outcomes(NamedTuple):
    """The outcome of each status; `more` are further statuses from the configuration."""

    more: tuple[tuple[str, Outcome], ...] = ()

    def of(self, status: str) -> Outcome:
        """The outcome of a status."""
        return dict(self.more).get(status) or STANDARD.get(status, "unjudged")

    def statuses(self, *outcomes: Outcome) -> tuple[str, ...]:
        """The statuses with one of these outcomes."""
        table = {**STANDARD, **dict(self.more)}
        return tuple(sorted(status for status, outcome in table.items() if outcome in outcomes))


def from_config(answers: Answers) -> Outcomes:
    """The outcomes of this configuration; a status that is configured twice counts as failed."""
    more: dict[str, Outcome] = dict.fromkeys(answers.waiting, "waiting")
    more |= dict.fromkeys(answers.passed, "passed")
    more |= dict.fromkeys(answers.failed, "failed")
    return Outcomes(tuple(more.items()))


LEAST_TO_RANK = 20
"""Rates of fewer judged dispatches are shown but not ranked: their interval spans half of the scale."""

_Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution, for a two-sided 95 % interval."""


class Rate(NamedTuple):
    """The pass rate: `passed` of `judged` dispatches."""

    passed: int
    judged: int

    @property
    def value(self) -> float | None:
        """The share, 0 to 1; None when nothing was judged."""
        return self.passed / self.judged if self.judged else None

    @property
    def ranked(self) -> bool:
        """Whether there are enough dispatches for a ranking."""
        return self.judged >= LEAST_TO_RANK

    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of Wilson (1927), 0 to 1; None when nothing was judged."""
        if not self.judged:
            return None
        share, square = self.passed / self.judged, _Z * _Z / self.judged
        middle = (share + square / 2) / (1 + square)
        half = _Z / (1 + square) * math.sqrt(share * (1 - share) / self.judged + square / (4 * self.judged))
        # If none or all passed, the bound is exact; the formula above leaves a rounding error.
        low = max(0.0, middle - half) if self.passed else 0.0
        return low, min(1.0, middle + half) if self.passed < self.judged else 1.0

    def document(self) -> dict[str, Any]:
        """The JSON of the rate: both numbers, the 95 % interval, and whether it is ranked."""
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
        """Whether both are ranked and their intervals do not overlap."""
        mine, others = self.interval(), other.interval()
        if mine is None or others is None or not (self.ranked and other.ranked):
            return False
        return mine[0] > others[1] or mine[1] < others[0]


def percentile(ordered: Sequence[int], percent: int) -> int | None:
    """The nearest-rank percentile of ordered values; None for no values."""
    if not ordered:
        return None
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def median(ordered: Sequence[int]) -> int | None:
    """The median of ordered values, the mean of two middle ones rounded down; None for no values."""
    if not ordered:
        return None
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) // 2
