"""How well do dispatches end, and what do they cost? By agent, repository, day and the like."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from agentic_watch.answers import documents, spans
from agentic_watch.answers.filters import Wanted, where
from agentic_watch.answers.outcomes import MERGED, ORDER, Outcome, Outcomes
from agentic_watch.answers.rates import Rate, median, percentile
from agentic_watch.answers.source import Source

BY = {
    "agent": "d.agent",
    "model": "d.model",
    # Two organisations may have repositories of one name.
    "repo": "CASE WHEN d.org = '' THEN d.repo ELSE d.org || '/' || d.repo END",
    "org": "d.org",
    "status": "d.status",
    "host": "d.host",
    "day": "substr(d.updated_utc, 1, 16)",
    "week": "substr(d.updated_utc, 1, 16)",
}
"""What dispatches are grouped by, in SQL; of a time the minute, since a day may begin at any quarter of an hour."""


_Fact = tuple[int | None, int, int | None]
"""Of one dispatch: duration (ms), findings, lines changed."""
_Cells = dict[tuple[str, str, int], list[_Fact]]
"""By (group, status, whether it was the first try)."""


@dataclass(frozen=True, slots=True)
class Group:
    """What is told of the dispatches of one group.

    Durations are milliseconds; `findings` and `lines` are a dispatch's mean; None is not known. `outcomes` counts
    the dispatches by outcome. `merged_ms` is the median from a start to the first commit that says merged.
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


@dataclass(frozen=True, slots=True)
class Stats:
    """The groups, and all of them as one."""

    groups: list[Group]
    total: Group


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: which dispatches, grouped by what, what their statuses mean, and whether days are UTC's."""

    wanted: Wanted
    by: str = "agent"
    outcomes: Outcomes = field(default_factory=Outcomes)
    utc: bool = True


@dataclass(slots=True)
class _Sum:
    """What is added up of a group."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    firsts: Counter[Outcome] = field(default_factory=Counter)
    durations: list[int] = field(default_factory=list)
    findings: int = 0
    lines: int = 0
    with_lines: int = 0
    merged: list[int] = field(default_factory=list)

    def add(self, outcome: Outcome, facts: list[_Fact], *, first: bool) -> None:
        """Add the dispatches of one cell."""
        self.outcomes[outcome] += len(facts)
        self.firsts[outcome] += len(facts) * first
        self.durations += [duration for duration, _, _ in facts if duration is not None]
        self.findings += sum([found for _, found, _ in facts])
        lines = [changed for _, _, changed in facts if changed is not None]
        self.lines += sum(lines)
        self.with_lines += len(lines)

    def join(self, other: _Sum) -> None:
        """Add what another group has."""
        self.outcomes += other.outcomes
        self.firsts += other.firsts
        self.durations += other.durations
        self.findings += other.findings
        self.lines += other.lines
        self.with_lines += other.with_lines
        self.merged += other.merged

    def group(self, key: str) -> Group:
        """What is told of it."""
        dispatches = sum(self.outcomes.values())
        self.durations.sort()
        return Group(
            key=key,
            dispatches=dispatches,
            outcomes={outcome: self.outcomes[outcome] for outcome in ORDER},
            rate=_rate(self.outcomes),
            first_try=_rate(self.firsts),
            median_ms=median(self.durations),
            p90_ms=percentile(self.durations, 90),
            findings=self.findings / dispatches if dispatches else 0.0,
            lines=self.lines / self.with_lines if self.with_lines else None,
            merged=len(self.merged),
            merged_ms=median(sorted(self.merged)),
        )


def stats(source: Source, question: Question) -> Stats:
    """Every group with its numbers: times in their order, else the best of those that can be ranked first."""
    cells = _cells(source, question)
    sums: dict[str, _Sum] = defaultdict(_Sum)
    for (key, status, first), facts in cells.items():
        sums[key].add(question.outcomes.of(status), facts, first=bool(first))
    for key, merged in _merged(source, question, cells).items():
        sums[key].merged += merged
    groups = [one.group(key) for key, one in sums.items()]
    total = _Sum()
    for one in sums.values():
        total.join(one)
    return Stats(sorted(groups, key=_by_time if question.by in _LABELS else _by_rate), total.group(""))


def compare(source: Source, question: Question, seconds: int, now: float) -> list[tuple[Group, Group]]:
    """The groups that became better or worse: (in the span before, in the span until now), of so many seconds each.

    Only where both can be ranked and their intervals have nothing in common; the largest change first.
    """
    middle, first = spans.at(now - seconds), spans.at(now - 2 * seconds)
    before = _by_key(source, replace(question, wanted=replace(question.wanted, since=first, until=middle)))
    after = _by_key(source, replace(question, wanted=replace(question.wanted, since=middle)))
    changed = [(before[key], group) for key, group in after.items() if key and key in before]
    return sorted((pair for pair in changed if pair[1].rate.differs(pair[0].rate)), key=_change)


def _by_key(source: Source, question: Question) -> dict[str, Group]:
    return {group.key: group for group in stats(source, question).groups}


def _change(pair: tuple[Group, Group]) -> float:
    before, after = pair
    return -abs((after.rate.value or 0.0) - (before.rate.value or 0.0))


def _cells(source: Source, question: Question) -> _Cells:
    """All dispatches, sorted into their cells. One pass, and no sorting by the engine: that costs more than this."""
    condition, values = where(source, question.wanted)
    # One text instead of three values is a third less to be made of each row. The status says how long it is.
    first = "CASE WHEN d.runs <= 1 THEN '1' ELSE '0' END"
    cell = f"{first} || length(d.status) || ' ' || d.status || {BY[question.by]}"
    sql = (
        f"SELECT {cell}, d.duration_ms, d.findings_count, d.insertions + d.deletions "
        f"FROM {source.dialect.commits} AS d{condition}"
    )
    cells: dict[str, list[_Fact]] = defaultdict(list)
    for name, duration, found, lines in source.rows(sql, values):
        cells[name].append((duration, found, lines))
    return _labelled({_parts(name): facts for name, facts in cells.items()}, question)


def _parts(name: str) -> tuple[str, str, int]:
    length, _, texts = name[1:].partition(" ")
    return texts[int(length) :], texts[: int(length)], int(name[0])


def _labelled(cells: _Cells, question: Question) -> _Cells:
    """The cells of a day or a week come minute by minute."""
    if question.by not in _LABELS:
        return cells
    label, joined = _LABELS[question.by], defaultdict[tuple[str, str, int], list[_Fact]](list)
    names: dict[str, str] = {}
    for (minute, status, first), facts in cells.items():
        if minute not in names:
            names[minute] = label(_day(minute, utc=question.utc))
        joined[names[minute], status, first] += facts
    return joined


def _day(minute: str, *, utc: bool) -> date:
    day = date.fromisoformat(minute[:10])
    if utc:
        return day
    parts = time.localtime(spans.seconds_of(f"{minute}:00"))
    return date(parts.tm_year, parts.tm_mon, parts.tm_mday)


def _week(day: date) -> str:
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02}"


_LABELS: dict[str, Callable[[date], str]] = {"day": date.isoformat, "week": _week}


def _merged(source: Source, question: Question, cells: _Cells) -> dict[str, list[int]]:
    """By group, how long (ms) each dispatch took until the first of its commits that says merged."""
    merged: dict[str, list[int]] = defaultdict(list)
    for (key, status, _), facts in cells.items():
        if status == MERGED:
            merged[key] += [duration for duration, _, _ in facts if duration is not None]
    first: dict[object, tuple[str, int, str, int | None]] = {}
    for commit, key, earlier, status, latest in _merged_earlier(source, question):
        if earlier is not None and (commit not in first or earlier < first[commit][1]):
            first[commit] = (key, earlier, status, latest)
    for key, earlier, status, latest in first.values():
        label = _label(key, question)
        if status == MERGED and latest is not None:
            merged[label].remove(latest)
        merged[label].append(earlier)
    return merged


def _merged_earlier(source: Source, question: Question) -> Iterable[tuple[object, str, int | None, str, int | None]]:
    """Of dispatches with an earlier commit that says merged: key, group, that one's duration, status, duration."""
    words = source.dialect
    condition, values = where(
        source, question.wanted, (f"e.status = '{MERGED}'", []), (words.same_run, []), (words.earlier, [])
    )
    sql = (
        f"SELECT {words.key}, {BY[question.by]}, e.duration_ms, d.status, d.duration_ms "
        f"FROM {words.commits} AS e, {words.commits} AS d{condition} AND e.updated_utc < d.updated_utc"
    )
    return source.rows(sql, values)


def _label(key: str, question: Question) -> str:
    return _LABELS[question.by](_day(key, utc=question.utc)) if question.by in _LABELS else key


def _rate(counts: Mapping[Outcome, int]) -> Rate:
    return Rate(counts["passed"], counts["passed"] + counts["failed"])


def _by_time(group: Group) -> tuple[str]:
    return (group.key,)


def _by_rate(group: Group) -> tuple[bool, float, int, str]:
    return not group.rate.ranked, -(group.rate.value or 0.0) * group.rate.ranked, -group.dispatches, group.key


def document(group: Group) -> dict[str, Any]:
    """The numbers of a group for JSON; what is not known is null."""
    return {
        "dispatches": group.dispatches,
        **{str(outcome): count for outcome, count in group.outcomes.items()},
        "pass_rate": documents.rate(group.rate),
        "first_try": documents.rate(group.first_try),
        "duration_ms": {"median": group.median_ms, "p90": group.p90_ms},
        "findings_per_dispatch": group.findings,
        "lines_per_dispatch": group.lines,
        "merged": group.merged,
        "time_to_merged_ms": group.merged_ms,
    }
