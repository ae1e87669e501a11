"""Counts recurring findings by rule, file, tool or repository, and finds those that persist, appear or disappear
between runs of a repository.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from agentic_watch.answers import answer_shape
from agentic_watch.answers.answer_shape import Answer
from agentic_watch.answers.past import dispatch_list
from agentic_watch.answers.past.failure_classes import normalised
from agentic_watch.answers.past.filters import REPOSITORY, Filter, where
from agentic_watch.answers.past.sql_dialects import Source

_TITLE = 200

TOOL = "COALESCE(f.tool, '')"
FILE = "COALESCE(f.file, '')"
CODED = "COALESCE(NULLIF(f.rule_id, ''), NULLIF(f.code, ''), NULLIF(f.category, ''), '')"
TITLE = (
    f"CASE WHEN {CODED} <> '' THEN '' "
    f"ELSE COALESCE(substr(NULLIF(f.title, ''), 1, {_TITLE}), substr(f.message, 1, {_TITLE}), '') END"
)
"""Titles are normalised only if there is no code; otherwise each text would be a separate rule."""


def rule_name(coded: str, title: str) -> str:
    """The rule's name within its tool: rule_id, else code, else category, else the normalised title."""
    return coded or normalised(title) or "(none)"


BY = ("rule", "file", "tool", "repo")

_NO_RULE = ("''", "''")
_PARTS = {
    "rule": (TOOL, CODED, TITLE, "''"),
    "file": ("''", *_NO_RULE, FILE),
    "tool": (TOOL, *_NO_RULE, "''"),
    "repo": ("''", *_NO_RULE, "''"),
}
"""The columns to group by, besides the repository: tool, code, title, file."""


@dataclass(slots=True)
class Recurring:
    """A group of equal findings; `dispatches` and `repositories` count where they occur."""

    tool: str
    rule: str
    file: str
    repo: str = ""
    findings: int = 0
    dispatches: int = 0
    repositories: set[str] = field(default_factory=set)
    last_utc: str = ""

    def document(self, by: str) -> dict[str, Any]:
        """The JSON of the group, with the value it was grouped by."""
        named = {"rule": ("tool", "rule"), "file": ("repo", "file"), "tool": ("tool",), "repo": ("repo",)}[by]
        return {
            **{name: getattr(self, name) or None for name in named},
            "findings_count": self.findings,
            "dispatches_count": self.dispatches,
            "repositories_count": len(self.repositories),
            "last_utc": self.last_utc,
        }


def answer(source: Source, wanted: Filter, by: str) -> Answer:
    """Recurring findings as an Answer."""
    groups = recurring(source, wanted, by)
    head = dispatch_list.head(source, wanted, sum(one.findings for one in groups)) | {"by": by}
    return Answer(head, tuple(Recurring("", "", "").document(by)), [one.document(by) for one in groups])


def recurring(source: Source, wanted: Filter, by: str) -> list[Recurring]:
    """The findings of the wanted dispatches, grouped, most frequent first."""
    groups: dict[tuple[str, ...], Recurring] = {}
    seen: set[tuple[int, object]] = set()
    for org, repo, tool, coded, title, file, one, findings, dispatches, last in _rows(source, wanted, by):
        place = f"{org}/{repo}" if org else repo
        own = place if by in ("file", "repo") else ""
        rule = rule_name(coded, title) if by == "rule" else ""
        group = groups.setdefault((tool, rule, file, own), Recurring(tool, rule, file, own))
        group.findings += findings
        if one is None or (id(group), one) not in seen:
            group.dispatches += dispatches
            seen.add((id(group), one))
        group.repositories.add(place)
        group.last_utc = max(group.last_utc, last)
    return sorted(groups.values(), key=lambda one: (-one.findings, one.tool, one.rule, one.file, one.repo))


def _rows(source: Source, wanted: Filter, by: str) -> Iterator[tuple[Any, ...]]:
    return _of_repositories(source, wanted) if by == "repo" else _counted(source, wanted, by)


def _of_repositories(source: Source, wanted: Filter) -> Iterator[tuple[Any, ...]]:
    """Counts by repository, from the count of findings in each dispatch's row."""
    condition, values = where(source, wanted, ("d.findings_count > 0", []))
    counts = "CAST(sum(d.findings_count) AS BIGINT), count(*), max(d.updated_utc)"
    sql = (
        f"SELECT '', {REPOSITORY}, '', '', '', '', NULL, {counts} "
        f"FROM {source.dialect.commits} AS d{condition} GROUP BY {REPOSITORY}"
    )
    return source.rows(sql, values)


def _counted(source: Source, wanted: Filter, by: str) -> Iterator[tuple[Any, ...]]:
    """Rows per repository and group: number of findings, of dispatches, and the newest time.

    A dispatch counts once per group. Titles belong to one rule only after they are normalised, so they are returned per
    dispatch.
    """
    words = source.dialect
    condition, values = where(source, wanted)
    tool, coded, title, file = _PARTS[by]
    is_short = words.sorts_groups and bool(wanted.since)
    each = (
        f"SELECT d.org AS org, d.repo AS repo, {tool} AS tool, {coded} AS coded, {title} AS title, {file} AS file, "
        f"CASE WHEN {title} = '' THEN NULL ELSE {words.key} END AS titled, {words.key} AS dispatch, "
        f"d.updated_utc AS updated_utc "
        f"FROM {words.commits} AS d {'CROSS ' * is_short}JOIN findings AS f ON {words.of_commit}{condition}"
    )
    if is_short:
        return _count(source.rows(each, values))
    columns = "org, repo, tool, coded, title, file, titled"
    counts = "count(*), count(DISTINCT dispatch), max(updated_utc)"
    # The most selective column first, so that sorting compares less.
    group = "repo, coded, file, tool, org, title, titled"
    return source.rows(f"SELECT {columns}, {counts} FROM ({each}) AS one GROUP BY {group}", values)


def _count(rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Group rows as in `_counted`; the findings of one dispatch must be adjacent."""
    groups: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        key, dispatch, updated_utc = row[:-2], row[-2], row[-1]
        group = groups.get(key)
        if group is None:
            groups[key] = [1, 1, updated_utc, dispatch]
            continue
        group[0] += 1
        if group[3] != dispatch:
            group[1], group[3] = group[1] + 1, dispatch
            if updated_utc > group[2]:
                group[2] = updated_utc
    for key, (findings, dispatches, last, _) in groups.items():
        yield *key, findings, dispatches, last


Kind = Literal["persistent", "new", "gone"]

_READ = 300
_BEFORE = 2
"""The newest run and the one before it."""

_MESSAGE = f"COALESCE(substr(f.message, 1, {_READ}), '')"
_COLUMNS = f"{TOOL}, {CODED}, {TITLE}, {FILE}, f.line, COALESCE(f.severity, ''), {_MESSAGE}"

_Key = tuple[str, str, str]
"""(tool, rule, file): identifies a finding across runs; its line changes as others are fixed."""


@dataclass(frozen=True, slots=True)
class Change:
    """A finding of a repository in the run of `workspace` that ended at `updated_utc`."""

    repo: str
    tool: str
    rule: str
    file: str
    line: int | None
    severity: str
    message: str
    workspace: str
    updated_utc: str

    def document(self) -> dict[str, Any]:
        """The JSON of the finding."""
        return answer_shape.absent_as_null(asdict(self))


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes in a number of `repositories`; `untold` counts those with too few runs to compare."""

    found: list[Change]
    repositories: int
    untold: int


def changes_answer(source: Source, wanted: Filter, kind: Kind, runs: int = _BEFORE) -> Answer:
    """Changes of findings as an Answer."""
    found = changes(source, wanted, kind, runs)
    head = dispatch_list.head(source, wanted, len(found.found)) | {"kind": kind, "runs": runs}
    head |= {"repositories_count": found.repositories, "too_few_runs_count": found.untold}
    return Answer(head, tuple(one.name for one in fields(Change)), [one.document() for one in found.found])


def changes(source: Source, wanted: Filter, kind: Kind, runs: int = _BEFORE) -> Changes:
    """Findings present in all of the newest `runs` of each repository, new in the newest one, or gone since the one
    before.

    For repositories with a wanted dispatch, over their wanted runs at any time; runs without a report are skipped.
    """
    found: list[Change] = []
    told = 0
    repositories = list(_repositories(source, wanted))
    for org, repo in repositories:
        newest = _runs(source, wanted._replace(org=(org,), repo=(repo,), since=""), runs)
        if len(newest) == runs:
            told += 1
            found += _told(newest, kind)
    found.sort(key=lambda one: (one.repo, one.tool, one.rule, one.file))
    return Changes(found, told, len(repositories) - told)


def _told(newest: list[dict[_Key, Change]], kind: Kind) -> Iterator[Change]:
    """Select the changes from each run's findings, newest run first. Pure."""
    last, before = newest[0], newest[1] if len(newest) > 1 else {}
    if kind == "persistent":
        return (change for key, change in last.items() if all(key in run for run in newest))
    here, other = (last, before) if kind == "new" else (before, last)
    return (change for key, change in here.items() if key not in other)


def _repositories(source: Source, wanted: Filter) -> Iterator[tuple[Any, ...]]:
    """The repositories of the wanted commits, newest of their run or not."""
    condition, values = where(source, wanted._replace(every=True), ("d.repo <> ''", []))
    return source.rows(f"SELECT DISTINCT d.org, d.repo FROM {source.dialect.commits} AS d{condition}", values)


def _runs(source: Source, wanted: Filter, runs: int) -> list[dict[_Key, Change]]:
    """The findings of a repository's newest runs with a report, newest first."""
    words = source.dialect
    condition, values = where(source, wanted, ("d.report IS NOT NULL", []))
    inner = (
        f"SELECT {words.identity}, {words.key} AS run, d.org, d.repo, d.workspace, d.updated_utc "
        f"FROM {words.commits} AS d{condition} "
        f"ORDER BY d.updated_utc DESC, {words.key} DESC LIMIT {int(runs)}"
    )
    sql = (
        f"SELECT d.run, d.org, d.repo, d.workspace, d.updated_utc, CASE WHEN {words.found} THEN 1 ELSE 0 END, "
        f"{_COLUMNS} FROM ({inner}) AS d LEFT JOIN findings AS f ON {words.of_commit} "
        "ORDER BY d.updated_utc DESC, d.run DESC"
    )
    found: dict[object, dict[_Key, Change]] = {}
    for number, org, repo, workspace, updated, is_one, *finding in source.rows(sql, values):
        run = found.setdefault(number, {})
        if not is_one:  # the run has no findings
            continue
        tool, coded, title, file, line, severity, message = finding
        rule = rule_name(coded, title)
        place = f"{org}/{repo}" if org else repo
        run.setdefault((tool, rule, file), Change(place, tool, rule, file, line, severity, message, workspace, updated))
    return list(found.values())
