"""What `stats` reads: dispatches in cells of one group, status and first or later try, hundreds of them in a row."""

from __future__ import annotations

import functools
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date

from agentic_watch.answers import documents, spans
from agentic_watch.answers.filters import REPOSITORY, Term, Wanted, where
from agentic_watch.answers.outcomes import MERGED, Outcomes
from agentic_watch.answers.source import Source
from agentic_watch.answers.spans import Clock

_DAY = "substr(d.updated_utc, 1, 10)"
_HOUR, _MINUTE = len("2026-04-14T11"), len("2026-04-14T11:17")

BY = {
    "agent": "d.agent",
    "model": "d.agent",
    "repo": REPOSITORY,
    "org": "d.org",
    "status": "d.status",
    "host": "d.host",
    "day": _DAY,
    "week": _DAY,
}
"""What dispatches are grouped by, in SQL: a model by its agent, a week by its days."""

_IN_ORDER = ("agent", "model", "status")
"""What an index has together, day by day."""


@dataclass(slots=True)
class Cell:
    """What is told of its dispatches: durations (ms), findings, lines changed, of each that has one, as texts of
    numbers with commas between. Read so they take a third of what they take row by row."""

    dispatches: int = 0
    durations: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


Cells = dict[tuple[str, str, bool], Cell]
"""By (group, status, whether it was the first try)."""


def numbers(texts: list[str]) -> list[int]:
    """The numbers in a cell's texts."""
    found: list[int] = json.loads(f"[{','.join(texts)}]")
    return found


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: which dispatches, grouped by what, what their statuses mean, and whether days are UTC's."""

    wanted: Wanted
    by: str = "agent"
    outcomes: Outcomes = field(default_factory=Outcomes)
    utc: bool = True


def cells_of(source: Source, question: Question) -> Cells:
    """All dispatches, sorted into their cells. The engine adds nothing up: what is reported may be too large for it."""
    key, group = _grouping(source, question)
    joined = source.dialect.joined.format
    condition, values = where(source, question.wanted, *_days_of(question.wanted))
    sql = (
        f"SELECT {key}, d.status, d.runs, count(*), {joined('d.duration_ms')}, {joined('d.findings_count')}, "
        f"{joined('d.insertions + d.deletions')} FROM {source.dialect.commits} AS d{condition} GROUP BY {group}"
    )
    label = _labels(question)
    cells: dict[tuple[str, str, bool], Cell] = defaultdict(Cell)
    for name, status, runs, count, *texts in source.rows(sql, values):
        cell = cells[label(name), status, runs <= 1]
        cell.dispatches += count
        for told, text in zip((cell.durations, cell.findings, cell.lines), texts, strict=True):
            if text:
                told.append(text)
    return cells


def _grouping(source: Source, question: Question) -> tuple[str, str]:
    """What is read as a group's key, and what rows are put together by: the order of an index where that can be.

    Days that are not UTC's are put together from hours, or from minutes where a day begins within an hour.
    """
    by = question.by
    if by in LABELS and not question.utc:
        whole = _midnights_are_whole_hours(source, question.wanted)
        key = f"substr(d.updated_utc, 1, {_HOUR if whole else _MINUTE})"
    elif by in LABELS or by in _IN_ORDER:
        return BY[by], f"{_DAY}, d.agent, d.status, d.runs"
    else:
        key = BY[by]
    return key, f"{key}, d.status, d.runs"


def _days_of(wanted: Wanted) -> Iterator[Term]:
    """The span once more, in days, as the index has it."""
    for bound, sign in ((wanted.since, ">="), (wanted.until, "<=")):
        if bound:
            yield f"{_DAY} {sign} ?", [bound[:10]]


def _midnights_are_whole_hours(source: Source, wanted: Wanted) -> bool:
    clock = Clock(time.time())
    first = wanted.since or documents.speaks_from(source) or spans.at(clock.now)
    last = min(wanted.until, spans.at(clock.now)) if wanted.until else spans.at(clock.now)
    days = range(date.fromisoformat(first[:10]).toordinal(), date.fromisoformat(last[:10]).toordinal() + 2)
    return all(clock.midnight(day)[_HOUR:].startswith(":00:00") for day in days)


def _labels(question: Question) -> Callable[[str], str]:
    """What makes a group's name of the key that was read."""
    if question.by == "model":
        return lambda agent: agent.partition(":")[2]
    if question.by not in LABELS:
        return str
    label = LABELS[question.by]
    return functools.cache(lambda when: label(_day(when, utc=question.utc)))


def _day(when: str, *, utc: bool) -> date:
    day = date.fromisoformat(when[:10])
    if utc:
        return day
    parts = time.localtime(spans.seconds_of(f"{when}:00:00"[: len("2026-04-14T11:17:08")]))
    return date(parts.tm_year, parts.tm_mon, parts.tm_mday)


def _week(day: date) -> str:
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02}"


LABELS: dict[str, Callable[[date], str]] = {"day": date.isoformat, "week": _week}
"""How a day is named where dispatches are grouped by a time."""


def merged_after(source: Source, question: Question, cells: Cells) -> dict[str, list[int]]:
    """By group, how long (ms) each dispatch took until the first of its commits that says merged."""
    merged: dict[str, Counter[int]] = defaultdict(Counter)
    for (key, status, _), cell in cells.items():
        if status == MERGED:
            merged[key].update(numbers(cell.durations))
    first: dict[object, tuple[str, int, str, int | None]] = {}
    for commit, key, earlier, status, latest in _merged_earlier(source, question):
        if earlier is not None and (commit not in first or earlier < first[commit][1]):
            first[commit] = (key, earlier, status, latest)
    label = _labels(question)
    for key, earlier, status, latest in first.values():
        if status == MERGED and latest is not None:
            merged[label(key)][latest] -= 1
        merged[label(key)][earlier] += 1
    return {key: list(counted.elements()) for key, counted in merged.items()}


def _merged_earlier(source: Source, question: Question) -> Iterable[tuple[object, str, int | None, str, int | None]]:
    """Of dispatches with an earlier commit that says merged: key, group, that one's duration, status, duration."""
    words = source.dialect
    condition, values = where(
        source, question.wanted, (f"e.status = '{MERGED}'", []), (words.same_run, []), (words.earlier, [])
    )
    key = f"substr(d.updated_utc, 1, {_MINUTE})" if question.by in LABELS else BY[question.by]
    sql = (
        f"SELECT {words.key}, {key}, e.duration_ms, d.status, d.duration_ms "
        f"FROM {words.commits} AS e, {words.commits} AS d{condition} AND e.updated_utc < d.updated_utc"
    )
    return source.rows(sql, values)
