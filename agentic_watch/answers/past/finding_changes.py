"""Which findings stay, come and go, from run to run of a repository?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from agentic_watch.answers import documents
from agentic_watch.answers.documents import Answer
from agentic_watch.answers.past import listing
from agentic_watch.answers.past.filters import Filter, where
from agentic_watch.answers.past.findings import CODED, FILE, TITLE, TOOL, rule_name
from agentic_watch.answers.past.source import Source

Kind = Literal["persistent", "new", "gone"]

_READ = 300
_BEFORE = 2
"""The newest run and the one before it."""

_MESSAGE = f"COALESCE(substr(f.message, 1, {_READ}), '')"
_COLUMNS = f"{TOOL}, {CODED}, {TITLE}, {FILE}, f.line, COALESCE(f.severity, ''), {_MESSAGE}"

_Key = tuple[str, str, str]
"""(tool, rule, file): what makes a finding the same in two runs; its line moves as others are mended."""


@dataclass(frozen=True, slots=True)
class Change:
    """A finding of a repository as it was in the run `workspace` that ended at `updated_utc`."""

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
        """The finding for JSON."""
        return documents.absent_as_null(asdict(self))


@dataclass(frozen=True, slots=True)
class Changes:
    """What was found in so many `repositories`; of `untold` more nothing is told, since they have too few runs."""

    found: list[Change]
    repositories: int
    untold: int


def answer(source: Source, wanted: Filter, kind: Kind, runs: int = _BEFORE) -> Answer:
    """What stayed, came or went, as rows."""
    found = changes(source, wanted, kind, runs)
    head = listing.head(source, wanted, len(found.found)) | {"kind": kind, "runs": runs}
    head |= {"repositories_count": found.repositories, "too_few_runs_count": found.untold}
    return Answer(head, tuple(one.name for one in fields(Change)), [one.document() for one in found.found])


def changes(source: Source, wanted: Filter, kind: Kind, runs: int = _BEFORE) -> Changes:
    """What stayed in the newest `runs` of each repository, is new in the newest one, or was in the one before.

    Of the repositories that have a wanted dispatch, and their wanted runs, whenever these were; runs without a report
    say nothing of findings and are passed over.
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
    """What is asked for, out of each run's findings, the newest run first. Pure."""
    last, before = newest[0], newest[1] if len(newest) > 1 else {}
    if kind == "persistent":
        return (change for key, change in last.items() if all(key in run for run in newest))
    here, other = (last, before) if kind == "new" else (before, last)
    return (change for key, change in here.items() if key not in other)


def _repositories(source: Source, wanted: Filter) -> Iterator[tuple[Any, ...]]:
    """The repositories of the wanted commits; whether one is the newest of its run changes nothing here."""
    condition, values = where(source, wanted._replace(every=True), ("d.repo <> ''", []))
    return source.rows(f"SELECT DISTINCT d.org, d.repo FROM {source.dialect.commits} AS d{condition}", values)


def _runs(source: Source, wanted: Filter, runs: int) -> list[dict[_Key, Change]]:
    """The findings of a repository's newest runs that have a report, the newest first."""
    words = source.dialect
    condition, values = where(source, wanted, ("d.report IS NOT NULL", []))
    inner = (
        f"SELECT {words.identity}, {words.key} AS run, d.org, d.repo, d.workspace, d.updated_utc "
        f"FROM {words.commits} AS d{condition} "
        f"ORDER BY d.updated_utc DESC, {words.key} DESC LIMIT {int(runs)}"
    )
    sql = (
        f"SELECT d.run, d.org, d.repo, d.workspace, d.updated_utc, CASE WHEN {words.found} THEN 1 ELSE 0 END, "
        f"{_COLUMNS} FROM ({inner}) AS d LEFT JOIN {words.findings} AS f ON {words.of_commit} "
        "ORDER BY d.updated_utc DESC, d.run DESC"
    )
    found: dict[object, dict[_Key, Change]] = {}
    for number, org, repo, workspace, updated, is_one, *finding in source.rows(sql, values):
        run = found.setdefault(number, {})
        if not is_one:  # a run without findings
            continue
        tool, coded, title, file, line, severity, message = finding
        rule = rule_name(coded, title)
        place = f"{org}/{repo}" if org else repo
        run.setdefault((tool, rule, file), Change(place, tool, rule, file, line, severity, message, workspace, updated))
    return list(found.values())
