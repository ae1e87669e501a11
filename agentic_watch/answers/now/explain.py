"""Explains why a workspace on disk is committed or not, step by step like a commit, but only reading.

For a ghost it explains whether it is recorded.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from agentic_watch.answers.now.explain_steps import Records, Step, journal_step, marker_step, row_step
from agentic_watch.config import Config, Ghosts, Layout, Limits, Root
from agentic_watch.history.open_runs_table import OpenRun
from agentic_watch.history.pruned import is_pruned
from agentic_watch.history.workspaces_table import WorkspaceRow
from agentic_watch.host import processes
from agentic_watch.inventory.ghosts import is_ghost, is_over, named_at
from agentic_watch.workspace import instant, layout, marker, status
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.ghost_record import before, is_ghost_record
from agentic_watch.workspace.layout import name_problem
from agentic_watch.workspace.marker import Marker
from agentic_watch.workspace.place import Place, open_place
from agentic_watch.workspace.redactor import redactor
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Missing, WorkspaceError

_DISPATCH = ("started_utc", "org", "repo", "task", "agent", "branch")
_FILES: tuple[tuple[Layout, str], ...] = (("meta", layout.META_STATUS), ("root", layout.STATUS))


@dataclass(frozen=True, slots=True)
class Past:
    """Other facts about a workspace: its history rows (None if not available, with `error`), its row in the index, its
    open run, the time of the last prune ("" for never), whether a daemon runs (None: unknown), and why it cannot write
    to the workspace with the command that fixes it (None: it can, as far as known).
    """

    rows: Sequence[Mapping[str, Any]] | None = ()
    state: WorkspaceRow | None = None
    run: OpenRun | None = None
    pruned_before: str = ""
    daemon: bool | None = False
    closed: tuple[str, str] | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """`committed` is None when unknown; `why` explains it in one sentence. `status_file` is the file that counts,
    `status` its content. `differences` describe how row or line contradict the status of the same identity."""

    path: str
    committed: bool | None
    why: str
    steps: tuple[Step, ...]
    status_file: str = ""
    status: Status | None = None
    differences: tuple[str, ...] = ()


def explain(candidate: Candidate, config: Config, past: Past) -> Explanation | None:
    """Examine a workspace as a commit does, without writing; None when it is not on disk."""
    path = os.path.join(candidate.root.path, candidate.name)
    try:
        place = open_place(candidate.root.path, candidate.name)
    except Missing:
        return None
    except WorkspaceError as error:
        return _stuck(path, [Step("directory", False, str(error))])
    try:
        if problem := name_problem(candidate.name):
            return _stuck(path, [Step("directory", False, problem)])
        return _explain(candidate, config, past, place)
    finally:
        place.close()


def _stuck(path: str, steps: list[Step]) -> Explanation:
    return Explanation(path, False, f"not committed: {steps[-1].says}; its writer has to fix it", tuple(steps))


def _explain(candidate: Candidate, config: Config, past: Past, place: Place) -> Explanation:
    path = os.path.join(candidate.root.path, candidate.name)
    try:
        found = status.read(place.directory, place.meta, candidate.root, config.limits).status
    except WorkspaceError as error:
        return _stuck(path, [Step("status", False, str(error)), *_index_steps(past.state)])
    access = [] if past.closed is None else [Step("access", False, past.closed[0])]
    file, words = _status_words(place, candidate.root, config.limits, found)
    steps = [Step("status", True, words), _finished_step(found, config.finished), _lock_step(place)]
    former, without = _former_names(candidate, found, past), redactor(config.limits.redact)
    records = Records(candidate.name, found, former, without=without)
    steps += [marker_step(place.meta, records), journal_step(place.meta, config.limits, records)]
    steps.append(row_step(past.rows, past.error, records))
    steps += [*access, *_index_steps(past.state)]
    finished = found.status in config.finished
    committed = _is_committed(records)
    return Explanation(
        path=path,
        committed=committed,
        why=_why(found, records, past, config) if finished or committed else _why_unfinished(found, past, config),
        steps=tuple(steps),
        status_file=file,
        status=found,
        differences=tuple(records.differences()),
    )


def marker_of(candidate: Candidate) -> Marker | None:
    """The marker of a workspace, None when it is missing or unreadable."""
    try:
        place = open_place(candidate.root.path, candidate.name)
    except WorkspaceError:
        return None
    with closing(place):
        try:
            return marker.read(place.meta) if place.meta is not None else None
        except WorkspaceError:
            return None


def _former_names(candidate: Candidate, found: Status, past: Past) -> frozenset[str]:
    """Former names under which this directory's dispatches have rows."""
    started = found.started_at.utc_if_set()
    dispatch = (started, found.org, found.repo, found.task, found.agent, found.branch)
    return frozenset(
        str(row["workspace"])
        for row in past.rows or ()
        if row["moved_to"] == candidate.name or tuple(row[name] for name in _DISPATCH) == dispatch
    ) - {candidate.name}


def _status_words(place: Place, root: Root, limits: Limits, found: Status) -> tuple[str, str]:
    """The status file that counts, and a description of both files."""
    counts, words = "", []
    for kind, file in _FILES:
        if root.layout not in ("auto", kind):
            continue
        try:
            said = status.read(place.directory, place.meta, root._replace(layout=kind), limits).status
        except Missing:
            continue
        except WorkspaceError as error:
            words.append(f"{error}; skipped")
            continue
        if said == found and not counts:
            counts = file
            words.insert(0, f"{file} says {said.status}, updated {said.updated_at.text}, run {said.runs}")
        else:
            words.append(f"{file} (updated {said.updated_at.text}) is not newer and does not count")
    return counts, "; ".join(words)


def _finished_step(found: Status, finished: frozenset[str]) -> Step:
    if found.status in finished:
        return Step("finished", True, f"{found.status} is a finished status")
    return Step("finished", False, f"{found.status} is not finished (finished are {', '.join(sorted(finished))})")


def _lock_step(place: Place) -> Step:
    if place.meta is None:
        return Step("lock", True, f"there is no {layout.META} yet; the commit creates it")
    try:
        if place.is_held():
            return Step("lock", False, f"another process holds {layout.META} (fuser -v {layout.META} names it)")
    except WorkspaceError as error:
        return Step("lock", None, str(error))
    return Step("lock", True, f"no process holds {layout.META}")


def _index_steps(state: WorkspaceRow | None) -> list[Step]:
    if state is None or not state.fail_count:
        return []
    due = f"; next attempt {instant.now_text(state.next_attempt_at)}" if state.next_attempt_at else ""
    times = "once" if state.fail_count == 1 else f"{state.fail_count} times in a row"
    return [Step("attempts", False, f"failed {times}: {state.last_error}{due}")]


def _is_committed(records: Records) -> bool | None:
    """Whether the marker has this identity, and the history row (or, if not available, a line) confirms it."""
    if not records.marked:
        return False
    return records.row is not None or records.line is not None or (None if records.row_unknown else False)


def _why_unfinished(found: Status, past: Past, config: Config) -> str:
    why = f"not committed: {found.status} is not finished, there is nothing to commit yet"
    unended = why_unended(found, past.rows or (), past.run, config.ghosts)
    return f"{why}; {unended}" if unended else why


def _why(found: Status, records: Records, past: Past, config: Config) -> str:
    from agentic_watch.commit.judging import decide  # late: it imports all of commit/, 15 ms

    plan = decide(records.marked, records.row_at, records.line_at, "")
    if plan.nothing:
        return f"committed at {plan.committed_at}: the marker has it and the history has its row"
    is_old = is_pruned(found.updated_at.utc(), records.line_at or "", past.pruned_before)
    if is_old and (records.marked or records.line_at):
        return f"committed, and its row was pruned: what is older than {past.pruned_before} counts as committed"
    if records.row_unknown and records.marked and records.line_at:
        return f"committed at {records.line_at}: the marker has it and the journal has its line"
    lacks = [
        name
        for name, missing in (
            ("its journal line", plan.append),
            ("its history row", plan.insert and not records.row_unknown),
            ("its marker", plan.mark),
        )
        if missing
    ]
    said = "committed, but it lacks" if records.marked and not plan.mark else "not committed: it lacks"
    return f"{said} {_and(lacks)}; {_who(past, config)}"


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _who(past: Past, config: Config) -> str:
    """What will complete the commit."""
    if past.closed is not None:
        cause, step = past.closed
        return f"{cause}; to fix this: {step}"
    if past.state is not None and past.state.fail_count and past.state.next_attempt_at:
        return f"it failed ({past.state.last_error}) and is retried at {instant.now_text(past.state.next_attempt_at)}"
    if past.daemon:
        return (
            f"the daemon adds it once the workspace has been quiet for {config.settle_seconds:g} s, "
            f"or with the next reconcile ({config.reconcile_seconds:g} s)"
        )
    unknown = "whether a daemon runs is unknown" if past.daemon is None else "no daemon runs"
    return f"{unknown}; `agentic-watch commit` or `--once` adds it now"


_FORCE = "commit --force commits it as it is"


def why_unended(found: Status, rows: Sequence[Mapping[str, Any]], run: OpenRun | None, ghosts: Ghosts) -> str:
    """Half a sentence; "" for a run that may still be running. `rows` are the history rows of its workspace, `run` its
    open run."""
    is_known = run is not None and run.identity == (found.pid, found.updated_at.utc(), found.runs)
    over = is_over(run, processes.here(), processes.began(found.pid)) if run is not None and is_known else None
    if not over and not is_ghost(found.status, found.pid, named_at(found.started_at, found.updated_at)):
        return ""
    gone = f"its process {found.pid} is gone{_how(run) if over and run is not None else ''}"
    if (row := _row(found, rows)) is not None:
        return f"{gone}; recorded as failed at {row['committed_at']}; a final status that is written later is newer"
    if ghosts.record == "never":
        return f'{gone}, and [ghosts] record = "never", so its end may never be recorded ({_FORCE})'
    if over or ghosts.record == "always":
        due = f" (at {instant.now_text(run.since + ghosts.after_seconds)})" if run is not None and run.gone else ""
        return f"{gone}; it is recorded as failed once it has been gone for {ghosts.after_seconds:g} s{due}"
    return (
        f"{gone}, but this host never saw it alive (it may run in a container), so its end may never be recorded "
        f"({_FORCE})"
    )


def _row(found: Status, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Its row as a ghost."""
    identity = before(found.updated_at).utc(), found.runs
    return next(
        (
            r
            for r in rows
            if (r["updated_utc"], r["runs"]) == identity and is_ghost_record(r["status"], r["question"] or "")
        ),
        None,
    )


def _how(run: OpenRun) -> str:
    """The evidence, in words."""
    if run.began is None or (run.boot and run.boot != processes.here().boot):
        return " (the host has rebooted since)"
    return f" (it was seen alive, started at {instant.now_text(min(processes.wall_time(run.began), time.time()))})"
