"""Reads the data of `stats`: rows that aggregate the dispatches of one group, status and first or later try."""

from __future__ import annotations

import functools
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from agentic_watch.answers.past import costs, dispatch_list, time_spans
from agentic_watch.answers.past.costs import KINDS, UNKNOWN, Total
from agentic_watch.answers.past.filters import REPOSITORY, Filter, Term, where
from agentic_watch.answers.past.outcomes import MERGED, Outcomes
from agentic_watch.answers.past.sql_dialects import Source
from agentic_watch.answers.past.time_spans import Clock

_DAY = "substr(d.updated_utc, 1, 10)"
_HOUR, _MINUTE, _SECOND = len("2026-04-14T11"), len("2026-04-14T11:17"), len("2026-04-14T11:17:08")
_ZONES_SINCE = "1980-01-01"
"""Earlier, midnight of a zone may be at any second; only forged times are that old."""

BY = {
    "agent": "d.agent",
    "model": "d.model",
    "repo": REPOSITORY,
    "org": "d.org",
    "status": "d.status",
    "host": "d.host",
    "day": _DAY,
    "week": _DAY,
    "pr": "d.pr_url",
}
"""The SQL key of each grouping; weeks are grouped by day."""

_DAY_SECONDS = 86_400
LINES = "lines"
_SUMS = {LINES: ("d.insertions", "d.deletions"), **{kind: (f"d.{kind}",) for kind in KINDS}}
"""Sums over dispatches with known values, and their columns."""

_IN_ORDER = ("agent", "model", "status")
"""Groupings for which an index is ordered by day."""


@dataclass(slots=True)
class Cell:
    """Aggregated data: durations (ms) as comma-separated texts (three times faster than one row each), findings, and
    the `parts` of its sums."""

    dispatches: int = 0
    durations: list[str] = field(default_factory=list)
    findings: int = 0
    parts: list[list[int | None]] = field(default_factory=list)

    def sums(self) -> dict[str, Total]:
        """The sums of LINES and of each kind of usage."""
        return dict(zip(_SUMS, costs.totals(self.parts) or [UNKNOWN] * len(_SUMS), strict=True))


Cells = dict[tuple[str, str, bool], Cell]
"""Cells by (group, status, whether it was the first try)."""


def numbers(texts: list[str]) -> list[int]:
    """The numbers in a cell's texts."""
    found: list[int] = json.loads(f"[{','.join(texts)}]")
    return found


@dataclass(frozen=True, slots=True)
class Question:
    """The parameters: filter, grouping, outcomes of statuses, and whether days are in UTC."""

    wanted: Filter
    by: str = "agent"
    outcomes: Outcomes = field(default_factory=Outcomes)
    utc: bool = True


def cells_of(source: Source, question: Question) -> Cells:
    """All dispatches, aggregated into cells."""
    key, group = _grouping(source, question)
    condition, values = where(source, question.wanted, *_days_of(question.wanted))
    sums = ", ".join(costs.summed(*columns) for columns in _SUMS.values())
    sql = (
        f"SELECT {key}, d.status, d.runs, count(*), {source.dialect.joined.format('d.duration_ms')}, "
        f"sum(d.findings_count), {sums} FROM {source.dialect.commits} AS d{condition} GROUP BY {group}"
    )
    label = _labels(question)
    cells: dict[tuple[str, str, bool], Cell] = defaultdict(Cell)
    for name, status, runs, count, durations, findings, *parts in source.rows(sql, values):
        cell = cells[label(name), status, runs <= 1]
        cell.dispatches += count
        cell.findings += findings
        if durations:
            cell.durations.append(durations)
        cell.parts.append(parts)
    return cells


def _grouping(source: Source, question: Question) -> tuple[str, str]:
    """The SQL of a group's key and of the GROUP BY, in the order of an index if possible.

    Days that are not in UTC are combined from hours, or from minutes where a day does not begin at a full hour;
    implausibly old times from seconds.
    """
    by = question.by
    if by in LABELS and not question.utc:
        clock = Clock(time.time())
        length = _HOUR if _midnights_are_whole_hours(source, question.wanted, clock) else _MINUTE
        seen = f"d.updated_utc >= '{_ZONES_SINCE}' AND d.updated_utc < '{clock.ago(-_DAY_SECONDS)}'"
        key = f"substr(d.updated_utc, 1, CASE WHEN {seen} THEN {length} ELSE {_SECOND} END)"
    elif by in LABELS or by in _IN_ORDER:
        return BY[by], f"{_DAY}, d.agent, d.model, d.status, d.runs"
    else:
        key = BY[by]
    return key, f"{key}, d.status, d.runs"


def _days_of(wanted: Filter) -> Iterator[Term]:
    """The span again in days, as in the index."""
    for bound, sign in ((wanted.since, ">="), (wanted.until, "<=")):
        if bound:
            yield f"{_DAY} {sign} ?", [bound[:10]]


def _midnights_are_whole_hours(source: Source, wanted: Filter, clock: Clock) -> bool:
    now = time_spans.at(clock.now)
    first = max(wanted.since or dispatch_list.oldest(source) or now, _ZONES_SINCE)
    last = min(wanted.until or now, now)
    days = range(date.fromisoformat(first[:10]).toordinal(), date.fromisoformat(last[:10]).toordinal() + 2)
    return all(clock.midnight(day)[_HOUR:].startswith(":00:00") for day in days)


def _labels(question: Question) -> Callable[[str], str]:
    """The function that converts a key to the group's name."""
    if question.by not in LABELS:
        return str
    label = LABELS[question.by]
    return functools.cache(lambda when: label(_day(when, utc=question.utc)))


def _day(when: str, *, utc: bool) -> date:
    parts = None if utc else time_spans.local(f"{when}:00:00"[:_SECOND])
    return date(*parts[:3]) if parts else date.fromisoformat(when[:10])


def _week(day: date) -> str:
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02}"


LABELS: dict[str, Callable[[date], str]] = {"day": date.isoformat, "week": _week}
"""Names of groups by time, from a day."""


def merged_after(source: Source, question: Question, cells: Cells) -> dict[str, list[int]]:
    """By group, the time (ms) of each dispatch until its first commit with the status merged."""
    merged: dict[str, Counter[int]] = defaultdict(Counter)
    for (key, status, _), cell in cells.items():
        if status == MERGED:
            merged[key].update(numbers(cell.durations))
    first: dict[object, _Merged] = {}
    for commit, *values in _merged_earlier(source, question):
        found = _Merged(*values)
        if commit not in first or found.updated_utc < first[commit].updated_utc:
            first[commit] = found
    label = _labels(question)
    for one in first.values():
        if one.status == MERGED and one.latest_ms is not None:
            merged[label(one.key)][one.latest_ms] -= 1
        if one.earlier_ms is not None:
            merged[label(one.key)][one.earlier_ms] += 1
    return {key: list(counted.elements()) for key, counted in merged.items()}


class _Merged(NamedTuple):
    """A dispatch with an earlier merged commit: the group's key, the time of that commit, both durations."""

    key: str
    updated_utc: str
    earlier_ms: int | None
    status: str
    latest_ms: int | None


def _merged_earlier(source: Source, question: Question) -> Iterator[tuple[Any, ...]]:
    """Each dispatch with each of its earlier merged commits: the dispatch's key, then the fields of `_Merged`.

    Includes commits with an unknown duration, for which the time until the merge is unknown.
    """
    words = source.dialect
    condition, values = where(source, question.wanted, (f"e.status = '{MERGED}'", []), (words.same_run, []))
    key = f"substr(d.updated_utc, 1, {_SECOND})" if question.by in LABELS else BY[question.by]
    sql = (
        f"SELECT {words.key}, {key}, e.updated_utc, e.duration_ms, d.status, d.duration_ms "
        f"FROM {words.commits} AS e, {words.commits} AS d{condition} AND e.updated_utc < d.updated_utc"
    )
    return source.rows(sql, values)
