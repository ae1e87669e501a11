"""Applies the results of agents' programs to a run: its usage, and whether it failed or waits."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from agentic_watch.config import Limits
from agentic_watch.dispatch import input_file, status_writer
from agentic_watch.dispatch.agents import known_agents
from agentic_watch.dispatch.agents.agent_result import COUNTS, ERROR_AT_MOST, AgentResult, Usage, count, minus, together
from agentic_watch.dispatch.run_types import Run
from agentic_watch.workspace import files, instant, journal
from agentic_watch.workspace import report as reports
from agentic_watch.workspace.jsontext import object_in
from agentic_watch.workspace.place import Place, open_place
from agentic_watch.workspace.workspace_errors import WorkspaceError

_NO_RESULT = "ended without a result"


def with_usage(
    run: Run,
    paths: Sequence[str],
    report: dict[str, Any],
    ended: tuple[str, str],
    problems: list[str],
    *,
    stopped: bool = False,
) -> tuple[str, str]:
    """(status, question) of an ended run, corrected by the result files `paths` of the agent's program.

    `usage` is added to the report; a run whose status is changed has not passed.
    """
    result = _read_results(run, paths, problems)
    if result is None:
        return ended
    if usage := result.usage.document():
        report["usage"] = usage
    counted = reports.changes(report).get("files_changed")
    found = judged(result, *ended, changed=bool(counted), stopped=stopped)
    if found != ended:
        report["passed"] = False
    return found


def _read_results(run: Run, paths: Sequence[str], problems: list[str]) -> AgentResult | None:
    """The combined result of the files, None when none is valid; each invalid one adds a problem."""
    since = instant.parse(run.started_at).ns
    results = []
    for path in paths:
        try:
            result = known_agents.read(input_file.read(input_file.locate(path, run.path), since))
        except input_file.Unreadable as error:
            problems.append(f"{path}: {error}; recorded without it")
            continue
        if result.whole_session:
            result = replace(result, usage=_without_earlier(result.usage, run))
        results.append(result)
    return together(results) if results else None


def judged(
    result: AgentResult, status: str, cause: str, *, changed: bool = False, stopped: bool = False
) -> tuple[str, str]:
    """(status, question) of a run that ended with `status` and `cause`, given the program's result.

    `changed`: it is known to have changed files; `stopped`: a signal ended it. An error in the result makes it failed;
    without one, failed and blocked runs keep their text.
    """
    if result.error:
        return "failed", result.error
    if not result.ended and not stopped and status != "blocked":
        return "failed", f"{_NO_RESULT} ({cause})" if cause else _NO_RESULT
    if status == "completed" and result.denied and not changed:
        return "blocked", _denied(result.denied)
    return status, cause


def _denied(tools: Sequence[str]) -> str:
    counted = ", ".join(f"{tool} {times}×" if times > 1 else tool for tool, times in Counter(tools).items())
    return f"tool calls were denied and nothing was changed: {counted}"[:ERROR_AT_MOST]


_NAMES_AT_MOST = 10_000
_WORKSPACES_AT_MOST = 200
_LIMITS = Limits(report_bytes=1 << 20, journal_bytes=8 << 20)
"""Larger files are skipped: they contain more than usage."""


def _without_earlier(usage: Usage, run: Run) -> Usage:
    """The usage of this run alone, from the total of its session.

    Subtracts earlier runs in its workspace and in the newest ones beside it. If these exceed the total, the total was
    not cumulative and is kept.
    """
    whole: dict[str, int | None] = {key: getattr(usage, key) for key in COUNTS}
    if not usage.session_id or not any(whole.values()):
        return usage
    before = dict.fromkeys(COUNTS, 0)
    for used in _earlier(run, usage.session_id):
        for key in COUNTS:
            before[key] += count(used.get(key)) or 0
    if any(number is not None and before[key] > number for key, number in whole.items()):
        return usage
    left: dict[str, Any] = {key: minus(number, before[key]) for key, number in whole.items()}
    return replace(usage, **left)


def _earlier(run: Run, session: str) -> Iterator[dict[str, Any]]:
    """`usage` of each other run of the session."""
    for name in _beside(run):
        used: dict[int, dict[str, Any]] = {}
        with contextlib.suppress(WorkspaceError, OSError), contextlib.closing(open_place(run.root.path, name)) as place:
            used = _by_run(place, run)
        if name == run.name:
            used.pop(run.runs, None)
        yield from (one for one in used.values() if one.get("session_id") == session)


def _beside(run: Run) -> Iterator[str]:
    """The run's workspace, and the newest ones beside it, by the time stamp at the end of their names."""
    yield run.name
    above = os.path.dirname(run.name)
    with contextlib.suppress(WorkspaceError, OSError), contextlib.closing(open_place(run.root.path, above)) as place:
        found = files.names(place.directory, _NAMES_AT_MOST, above)[0] if above else frozenset()
        newest = sorted(found, key=lambda name: name.rpartition("-")[2], reverse=True)
        yield from (f"{above}/{name}" for name in newest[:_WORKSPACES_AT_MOST] if f"{above}/{name}" != run.name)


def _by_run(place: Place, run: Run) -> dict[int, dict[str, Any]]:
    """`usage` of each run of a workspace, from its journal and for the newest run from its report."""
    if place.meta is None:
        return {}
    used = {}
    with contextlib.closing(journal.open_journal(place.meta, _LIMITS, append=False)) as lines:
        for record in lines.records():
            used[record.runs] = object_in(record.report.get("usage"))
    newest = status_writer.current(place, run.root)
    report, _ = reports.read(place.meta, _LIMITS.report_bytes)
    if newest is not None and report:
        used[newest.status.runs] = object_in(report.get("usage"))
    return used
