"""How did a dispatch end? What a status means for every rate that is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True, slots=True)
class Outcomes:
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
