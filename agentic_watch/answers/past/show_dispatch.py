"""All facts about one dispatch: its commits in the history, and its workspace on disk."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from agentic_watch.answers import answer_shape
from agentic_watch.answers.now import explain
from agentic_watch.answers.now.explain import Explanation, Past
from agentic_watch.answers.past import dispatch_list, kept_logs, sql_dialects
from agentic_watch.answers.past.kept_logs import NOTHING_KEPT, Kept
from agentic_watch.answers.past.outcomes import from_config
from agentic_watch.answers.past.sql_dialects import Source
from agentic_watch.config import Config
from agentic_watch.daemon.daemon_presence import is_there
from agentic_watch.history import HistoryError, open_runs_table, workspaces_table
from agentic_watch.history.columns import FINDING_COLUMNS
from agentic_watch.history.open_runs_table import OpenRun
from agentic_watch.history.store import History
from agentic_watch.history.workspaces_table import WorkspaceRow
from agentic_watch.workspace import instant
from agentic_watch.workspace.candidate import Candidate, UnknownWorkspace, find
from agentic_watch.workspace.kept_part import KeptFile

_ROW_ID = re.compile(r"\d{1,18}", re.ASCII)
COMMIT_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
_SEEN = ("status", "agent", "pid", "question")


@dataclass(frozen=True, slots=True)
class Shown:
    """`dispatch` is one complete commit (None when there is none), `commits` are all of its workspace, oldest first,
    without reports, `findings` are those of `dispatch`. `on_disk` is None when the workspace does not exist. `kept` are
    its kept files. `failure` says what could not be read."""

    root: str
    workspace: str
    dispatch: dict[str, Any] | None
    commits: tuple[dict[str, Any], ...]
    findings: tuple[dict[str, Any], ...]
    on_disk: Explanation | None
    state: WorkspaceRow | None
    failure: str = ""
    kept: Kept = NOTHING_KEPT


class NoSuchDispatch(Exception):
    """No workspace or commit matches; the message suggests similar ones."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """What to show: a workspace of a root, and optionally one of its commits (the row's id)."""

    root: str
    workspace: str
    candidate: Candidate | None = None
    row_id: int | None = None


def one_dispatch(config: Config, given: str, directory: str) -> Shown:
    """Collect the facts about `given`: a workspace (path or name) or a commit (row id or commit_id).

    A workspace takes precedence over an id. Relative paths start at `directory`. Reads only. Raises NoSuchDispatch,
    HistoryError when the needed history is not available, HistoryRefused.
    """
    candidate, reason = _on_disk(config, given, directory)
    try:
        with sql_dialects.history(config.history) as asked:
            subject = _Subject(candidate.root.key, candidate.name, candidate) if candidate else None
            subject = subject or _in_history(asked, config, given, reason)
            commits = tuple(map(plain, _commits(asked, subject)))
            wanted = subject.row_id or (commits[-1]["id"] if commits else None)
            dispatch = _whole(asked, wanted) if wanted is not None else None
            findings = tuple(_findings(asked, wanted)) if wanted is not None else ()
            files = kept_logs.kept(asked, dispatch, failed=_failed(config, dispatch)) if dispatch else NOTHING_KEPT
            ((pruned,),) = asked.rows("SELECT ifnull(pruned_before, '') FROM about")
    except HistoryError as error:
        if candidate is None:
            raise
        return _without_history(candidate, config, error)
    state, run = _state(config, subject)
    closed = _closed(config, subject.candidate)
    past = Past(commits, state, run, pruned_before=pruned, daemon=_daemon_runs(config), closed=closed)
    told = explain.explain(subject.candidate, config, past) if subject.candidate else None
    return Shown(subject.root, subject.workspace, dispatch, commits, findings, told, state, kept=files)


def _failed(config: Config, dispatch: dict[str, Any]) -> bool:
    return from_config(config.answers).of(dispatch["status"]) == "failed"


def kept_file(source: Source, shown: Shown, given: str) -> KeptFile:
    """Find a kept file by its path in the workspace, or by its last component if that is unique.

    Raises NoSuchDispatch, and the errors of the source.
    """
    names = [file["name"] for file in shown.kept.files]
    found = [name for name in names if given in (name, name.rpartition("/")[2])]
    name = given if given in found else found[0] if len(found) == 1 else ""
    file = kept_logs.one(source, shown.dispatch, name) if shown.dispatch and name else None
    if file is not None:
        return file
    there = f"there are {', '.join(names)}" if names else "no file of it was kept (see [keep] in the configuration)"
    raise NoSuchDispatch(f"{shown.workspace}: no file {given} is kept of it; {there}")


def _on_disk(config: Config, given: str, directory: str) -> tuple[Candidate | None, str]:
    """The given workspace if it exists on disk, else the reason."""
    try:
        candidate = find(config.roots, given, directory)
    except UnknownWorkspace as error:
        return None, str(error)
    there = os.path.lexists(os.path.join(candidate.root.path, candidate.name))
    return (candidate, "") if there else (None, f"{given}: is not on disk")


def _in_history(asked: Source, config: Config, given: str, reason: str) -> _Subject:
    """Find the workspace or commit in the history. Raises NoSuchDispatch."""
    table = asked.dialect.commits
    name, roots = given.strip("/"), {root.path: root for root in config.roots}
    for path, root in roots.items():
        if given.startswith(f"{path}/"):
            return _known(asked, _Subject(root.key, given[len(path) + 1 :].rstrip("/")), reason)
    named = asked.dialect.of_workspace.format("d.workspace = ?")
    found = [root for (root,) in asked.rows(f"SELECT DISTINCT d.root FROM {table} AS d WHERE {named}", (name,))]
    if len(found) > 1:
        raise NoSuchDispatch(f"{given}: is in several roots ({', '.join(sorted(found))}); give the id of one commit")
    if found:
        return _Subject(found[0], name, _candidate(config, found[0], name))
    condition = "d.id = ?" if _ROW_ID.fullmatch(given) else "d.commit_id = ?"
    if condition == "d.commit_id = ?" and not COMMIT_ID.fullmatch(given.lower()):
        raise NoSuchDispatch(_nowhere(reason, _near(asked, name)))
    sql = f"SELECT d.root, d.workspace, d.id FROM {table} AS d WHERE {condition}"
    for key, workspace, row_id in asked.rows(sql, (given.lower(),)):
        return _Subject(key, workspace, _candidate(config, key, workspace), row_id)
    raise NoSuchDispatch(f"{given}: the history has no commit with this id, and no workspace has this name")


def _known(asked: Source, subject: _Subject, reason: str) -> _Subject:
    if next(iter(_commits(asked, subject)), None) is None:
        raise NoSuchDispatch(_nowhere(reason))
    return subject


def _nowhere(reason: str, near: str = "") -> str:
    """The message; a suggestion in `reason` is not repeated."""
    return reason if reason.endswith("?") else f"{reason}, nor in the history{near}"


def _near(asked: Source, name: str) -> str:
    """Suggest workspaces whose last component equals the given name or begins with it."""
    base = name.rpartition("/")[2]
    sql = (
        f"SELECT DISTINCT d.workspace FROM {asked.dialect.commits} AS d "
        "WHERE d.workspace LIKE ? ESCAPE '!' ORDER BY d.workspace LIMIT 4"
    )
    pattern = f"%{base.replace('!', '!!').replace('%', '!%').replace('_', '!_')}%"
    found = [workspace for (workspace,) in asked.rows(sql, (pattern,))] if base else []
    return f"; did you mean {', '.join(found[:3])}{' …' if len(found) > 3 else ''}?" if found else ""


def _candidate(config: Config, key: str, name: str) -> Candidate | None:
    """The same workspace on disk, if its root is configured here."""
    return next((Candidate(root, name) for root in config.roots if root.key == key), None)


def _commits(asked: Source, subject: _Subject) -> list[dict[str, Any]]:
    here = "(d.root = ? AND (d.workspace = ? OR d.moved_to = ?))"
    values: tuple[str | int, ...] = (subject.root, subject.workspace, subject.workspace)
    if subject.candidate is not None:
        here += " OR (d.root IN (SELECT root FROM roots) AND d.moved_to = ?)"
        values += (os.path.join(subject.candidate.root.path, subject.workspace),)
    marked = explain.marker_of(subject.candidate) if subject.candidate is not None else None
    if marked is not None and marked.workspace != subject.workspace:  # a copy
        there = asked.dialect.of_workspace.format("d.workspace = ? AND d.updated_utc = ? AND d.runs = ?")
        here = f"{here} OR {there}"
        values += marked.workspace, marked.updated_at.utc(), marked.runs
    sql = f"SELECT d.* FROM {asked.dialect.commits} AS d WHERE {here} ORDER BY d.updated_utc, d.runs"
    return [{name: value for name, value in row.items() if name != "report"} for row in asked.named(sql, values)]


def _whole(asked: Source, row_id: int) -> dict[str, Any]:
    sql = f"SELECT d.* FROM {asked.dialect.commits} AS d WHERE d.id = ?"
    return plain(next(iter(asked.named(sql, (row_id,)))))


def plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row for a document, which has its own `schema`."""
    return {name: value for name, value in dispatch_list.document(row).items() if name != "schema"}


def _findings(asked: Source, row_id: int) -> list[dict[str, Any]]:
    columns = ", ".join(f'f."{name}"' for name in FINDING_COLUMNS)
    sql = f"SELECT {columns} FROM findings AS f WHERE f.dispatch_id = ? ORDER BY f.id"
    return list(asked.named(sql, (row_id,)))


def _state(config: Config, subject: _Subject) -> tuple[WorkspaceRow | None, OpenRun | None]:
    history = History(config.history, read_only=True)
    try:
        state = workspaces_table.state(history, subject.root, subject.workspace)
        return state, open_runs_table.run_of(history, subject.root, subject.workspace)
    except HistoryError:
        return None, None
    finally:
        history.close()


def _closed(config: Config, candidate: Candidate | None) -> tuple[str, str] | None:
    """What prevents the service's user from writing to a workspace, and the command that fixes it; None also when this
    user may not test it, or the workspace is in no root."""
    if candidate is None:
        return None
    from agentic_watch.answers.check.access_checks import closed_to_service  # late: it imports service/, 20 ms

    found = closed_to_service(config, candidate)
    return None if found is None else (f"{found.path}: {found.cause}", found.step)


def _daemon_runs(config: Config) -> bool | None:
    try:
        return is_there(config.history)
    except OSError:
        return None


def _without_history(candidate: Candidate, config: Config, error: HistoryError) -> Shown:
    absent = not os.path.lexists(config.history)
    closed = _closed(config, candidate)
    past = Past(() if absent else None, None, daemon=_daemon_runs(config), closed=closed, error=str(error))
    told = explain.explain(candidate, config, past)
    return Shown(candidate.root.key, candidate.name, None, (), (), told, None, "" if absent else str(error))


def document(shown: Shown) -> dict[str, Any]:
    """The JSON document of `show`."""
    return {
        "schema": answer_shape.SCHEMA,
        "root": shown.root,
        "workspace": shown.workspace,
        "dispatch": answer_shape.absent_as_null(shown.dispatch) if shown.dispatch else None,
        "commits": [answer_shape.absent_as_null(row) for row in shown.commits],
        "findings": list(shown.findings),
        "kept_files": list(shown.kept.files),
        "last_lines": list(shown.kept.lines),
        "on_disk": _disk_document(shown.on_disk, shown.state) if shown.on_disk else None,
        "error": shown.failure or None,
    }


def _disk_document(told: Explanation, state: WorkspaceRow | None) -> dict[str, Any]:
    status = told.status
    due = state.next_attempt_at if state else None
    return {
        "path": told.path,
        "committed": told.committed,
        "why": told.why,
        "steps": [{"step": step.name, "holds": step.holds, "says": step.says} for step in told.steps],
        "differences": list(told.differences),
        "status_file": told.status_file or None,
        **answer_shape.absent_as_null({name: getattr(status, name) if status else None for name in (*_SEEN, "runs")}),
        "started_at": status.started_at.text if status and not status.started_at.is_zero else None,
        "started_utc": status.started_at.utc_if_set() if status else None,
        "updated_at": status.updated_at.text if status else None,
        "updated_utc": status.updated_at.utc() if status else None,
        "fail_count": state.fail_count if state else 0,
        "error": state.last_error if state else None,
        "next_attempt_at": None if due is None else instant.now_text(due),
    }
