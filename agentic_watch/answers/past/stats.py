"""Pass rates, durations and costs of dispatches by agent, repository, day and other groups."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agentic_watch.answers.answer_shape import Answer
from agentic_watch.answers.past import costs, dispatch_list, time_spans
from agentic_watch.answers.past.costs import COST, UNKNOWN, Total, Used
from agentic_watch.answers.past.outcomes import ORDER, Outcome, Rate, median, percentile
from agentic_watch.answers.past.sql_dialects import Source
from agentic_watch.answers.past.stats_query import LABELS, LINES, Cell, Question, cells_of, merged_after, numbers


@dataclass(frozen=True, slots=True)
class Group:
    """The numbers of one group.

    Durations are in milliseconds; `findings` and `lines` are means per dispatch; None is unknown. `outcomes` counts
    dispatches by outcome. `merged_ms` is the median time from the start to the first commit with the status merged.
    `used` is the total usage, `per_passed` the cost per passed dispatch (millionths of a dollar).
    """

    key: str
    dispatches: int
    outcomes: dict[Outcome, int]
    rate: Rate
    first_try: Rate
    median_ms: int | None
    p90_ms: int | None
    findings: float
    lines: float | None
    merged: int
    merged_ms: int | None
    used: Used
    per_passed: int | None


@dataclass(frozen=True, slots=True)
class Stats:
    """The groups and their total."""

    groups: list[Group]
    total: Group

    def answer(self, source: Source, question: Question) -> Answer:
        """The groups as rows, with the total in the head."""
        head = dispatch_list.head(source, question.wanted, self.total.dispatches)
        head |= {"by": question.by, "total": document(self.total)}
        return Answer(head, tuple(keyed(self.total)), [keyed(group) for group in self.groups])


@dataclass(slots=True)
class _Sum:
    """Accumulates the numbers of a group."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    firsts: Counter[Outcome] = field(default_factory=Counter)
    durations: list[int] = field(default_factory=list)
    findings: int = 0
    lines: Total = UNKNOWN
    used: Used = field(default_factory=lambda: costs.NOTHING)
    merged: list[int] = field(default_factory=list)

    def add(self, outcome: Outcome, cell: Cell, *, first: bool) -> None:
        """Add the dispatches of one cell."""
        self.outcomes[outcome] += cell.dispatches
        self.firsts[outcome] += cell.dispatches * first
        self.durations += numbers(cell.durations)
        self.findings += cell.findings
        sums = cell.sums()
        self.lines = self.lines.plus(sums[LINES])
        self.used = costs.together(self.used, sums)

    def join(self, other: _Sum) -> None:
        """Add another group."""
        self.outcomes += other.outcomes
        self.firsts += other.firsts
        self.durations += other.durations
        self.findings += other.findings
        self.lines = self.lines.plus(other.lines)
        self.used = costs.together(self.used, other.used)
        self.merged += other.merged

    def group(self, key: str) -> Group:
        """The resulting numbers."""
        dispatches = sum(self.outcomes.values())
        self.durations.sort()
        lines = self.lines
        return Group(
            key=key,
            dispatches=dispatches,
            outcomes={outcome: self.outcomes[outcome] for outcome in ORDER},
            rate=_rate(self.outcomes),
            first_try=_rate(self.firsts),
            median_ms=median(self.durations),
            p90_ms=percentile(self.durations, 90),
            findings=self.findings / dispatches if dispatches else 0.0,
            lines=lines.sum / lines.known if lines.known else None,
            merged=len(self.merged),
            merged_ms=median(sorted(self.merged)),
            used=self.used,
            per_passed=costs.per_passed(self.used[COST], dispatches, self.outcomes["passed"]),
        )


def stats(source: Source, question: Question) -> Stats:
    """All groups: times in chronological order, pull requests by cost, others by rate, ranked ones first."""
    cells = cells_of(source, question)
    sums: dict[str, _Sum] = defaultdict(_Sum)
    for (key, status, first), cell in cells.items():
        sums[key].add(question.outcomes.of(status), cell, first=first)
    for key, merged in merged_after(source, question, cells).items():
        sums[key].merged += merged
    groups = [one.group(key) for key, one in sums.items()]
    total = _Sum()
    for one in sums.values():
        total.join(one)
    order = _by_time if question.by in LABELS else _by_cost if question.by == "pr" else _by_rate
    return Stats(sorted(groups, key=order), total.group(""))


def compare(source: Source, question: Question, seconds: int, now: float) -> list[tuple[Group, Group]]:
    """Groups that became better or worse: (previous span, current span), each of `seconds`.

    Only groups that are ranked in both spans with intervals that do not overlap; largest change first.
    """
    middle, first = time_spans.at(now - seconds), time_spans.at(now - 2 * seconds)
    before = _by_key(source, replace(question, wanted=question.wanted._replace(since=first, until=middle)))
    after = _by_key(source, replace(question, wanted=question.wanted._replace(since=middle)))
    changed = [(before[key], group) for key, group in after.items() if key and key in before]
    return sorted((pair for pair in changed if pair[1].rate.differs(pair[0].rate)), key=_change)


def _by_key(source: Source, question: Question) -> dict[str, Group]:
    return {group.key: group for group in stats(source, question).groups}


def _change(pair: tuple[Group, Group]) -> float:
    before, after = pair
    return -abs((after.rate.value or 0.0) - (before.rate.value or 0.0))


def _rate(counts: Mapping[Outcome, int]) -> Rate:
    return Rate(counts["passed"], counts["passed"] + counts["failed"])


def _by_time(group: Group) -> tuple[str]:
    return (group.key,)


def _by_cost(group: Group) -> tuple[bool, bool, int, str]:
    """Sort key for pull requests, which have too few dispatches to rank by rate. Dispatches without one come last."""
    cost = group.used[COST].value
    return not group.key, cost is None, -(cost or 0), group.key


def _by_rate(group: Group) -> tuple[bool, float, int, str]:
    return not group.rate.ranked, -(group.rate.value or 0.0) * group.rate.ranked, -group.dispatches, group.key


def document(group: Group) -> dict[str, Any]:
    """The JSON of a group's numbers; unknown ones are null."""
    return {
        "dispatches_count": group.dispatches,
        **{f"{outcome}_count": count for outcome, count in group.outcomes.items()},
        "pass_rate": group.rate.document(),
        "first_try": group.first_try.document(),
        "duration_ms": {"median": group.median_ms, "p90": group.p90_ms},
        "findings_per_dispatch": group.findings,
        "lines_per_dispatch": group.lines,
        "merged_count": group.merged,
        "time_to_merged_ms": group.merged_ms,
        **costs.document(group.used),
        "cost_per_passed_microusd": group.per_passed,
    }


def keyed(group: Group) -> dict[str, Any]:
    """A group as a row, with its key."""
    return {"key": group.key or None, **document(group)}


NOBODY = _Sum().group("")
"""A group without dispatches."""
