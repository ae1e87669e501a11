"""Findings by rule where whole periods of ten days are counted already: only the days before are looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from agentic_watch.answers.filters import Term, Wanted, among, where
from agentic_watch.answers.rules import CODED, TITLE, TOOL
from agentic_watch.answers.source import Source

Counted = tuple[str, str, str, str, str, str, object, int, int, str]
"""org, repo, tool, code, title, file, the dispatch when a title alone tells the rule, findings, dispatches, newest."""

_DECEMBER = 12
_BEGINS = "0T00:00:00.000000000Z"
"""What follows of the time at which a period begins."""


def can_tell(source: Source, wanted: Wanted) -> bool:
    """Whether the totals have what is wanted: all of some repositories, until now."""
    return bool(source.dialect.totals) and wanted == Wanted(since=wanted.since, repo=wanted.repo, org=wanted.org)


def counted(source: Source, wanted: Wanted) -> Iterator[Counted]:
    """The findings by repository and rule; what whole periods have and what was looked at come one after the other."""
    first = _first_whole_period(wanted.since)
    without_code = 0
    for row in _totals(source, wanted, first):
        if row[3]:
            yield row
        else:
            without_code += row[7]
    if without_code:  # only their titles can tell which rules they are of
        yield from _looked_at(source, replace(wanted, since=first), f"{CODED} = ''")
    if wanted.since < first:
        yield from _looked_at(source, replace(wanted, until=first), "1 = 1")


def _first_whole_period(since: str) -> str:
    """The first period that lies in the span as a whole: `2026-04-2` since the 14th; "" for all time.

    Texts that begin so come after it in the order of text: it is a bound, too.
    """
    if not since or since.endswith(_BEGINS):
        return since[: -len(_BEGINS)]
    year, month, tens = int(since[:4]), int(since[5:7]), int(since[8])
    if tens < 3:
        return f"{since[:8]}{tens + 1}"
    return f"{year + month // _DECEMBER:04}-{month % _DECEMBER + 1:02}-0"


def _totals(source: Source, wanted: Wanted, first: str) -> Iterator[Counted]:
    terms: list[Term] = [("d.period >= ?", [first]), ("d.findings > 0", [])]
    terms += [among(f"d.{name}", values) for name in ("repo", "org") if (values := getattr(wanted, name))]
    sql = (
        "SELECT d.org, d.repo, d.tool, d.rule, '', '', NULL, sum(d.findings), sum(d.dispatches), max(d.last_utc) "
        f"FROM {source.dialect.totals} AS d WHERE {' AND '.join(term for term, _ in terms)} "
        "GROUP BY d.org, d.repo, d.tool, d.rule"
    )
    yield from source.rows(sql, [value for _, values in terms for value in values])


def _looked_at(source: Source, wanted: Wanted, which: str) -> Iterator[Counted]:
    """Findings of rows, counted here: to sort them in the engine takes several times as long."""
    words = source.dialect
    condition, values = where(source, wanted, (which, []))
    sql = (
        f"SELECT {words.key}, d.updated_utc, d.org, d.repo, {TOOL}, {CODED}, {TITLE} "
        f"FROM {words.commits} AS d JOIN {words.findings} AS f ON {words.of_commit}{condition}"
    )
    each: Counter[tuple[Any, ...]] = Counter(source.rows(sql, values))
    titled = {row: count for row, count in each.items() if row[6]}
    for (key, updated, org, repo, tool, coded, title), count in titled.items():
        yield org, repo, tool, coded, title, "", key, count, 1, updated
    dispatches = Counter(row[2:] for row in each if not row[6])
    newest: dict[tuple[Any, ...], str] = {}
    more: Counter[tuple[Any, ...]] = Counter()
    for row, count in each.items():
        kind = row[2:]
        if newest.get(kind, "") < row[1]:
            newest[kind] = row[1]
        if count > 1:
            more[kind] += count - 1
    for kind, count in dispatches.items():
        org, repo, tool, coded, title = kind
        yield org, repo, tool, coded, title, "", None, count + more[kind], count, newest[kind]
