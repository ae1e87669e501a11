"""What the original's two tools do: commit one workspace, count what is on disk."""

from __future__ import annotations

import logging
import os
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

from agentic_watch.answers import committing
from agentic_watch.answers.committing import CommitAnswer
from agentic_watch.answers.standing import Standing
from agentic_watch.answers.workspaces_now import workspaces_now
from agentic_watch.config import Root
from agentic_watch.history.store import History
from agentic_watch.mcp_server.worker import Worker
from agentic_watch.workspace.find import UnknownWorkspace, find
from agentic_watch.workspace.layout import Candidate
from agentic_watch.workspace.names import name_problem
from agentic_watch.workspace.place import open_place
from agentic_watch.workspace.workspace_errors import WorkspaceError

log = logging.getLogger("agentic_watch.mcp")

LONGEST_TEXT = 1_000
LONGEST_LIST = 50

_STATUSES = 50
"""So many statuses are counted by name: anybody may write any."""


class Blocked(BaseModel):
    """A dispatch that waits for an answer."""

    name: str
    repo: str
    agent: str
    question: str


class StatusAnswer(BaseModel):
    """Counts of the workspaces that were asked for; each but `total` counts the status of that very name.

    `counts` has every status, "unreadable" those without one; `blocked` may be shorter than `blocked_total`.
    `missing` names roots that could not be looked into: what lies there is not counted.
    """

    total: int
    running: int
    queued: int
    completed: int
    failed: int
    blocked: list[Blocked]
    blocked_total: int
    counts: dict[str, int]
    missing: list[str]


@dataclass(frozen=True, slots=True)
class Asked:
    """Which workspaces are counted ("": all), and how many blocked ones are listed at most (0: all)."""

    workspace: str = ""
    status: str = ""
    limit: int = 0


def commit(worker: Worker, workspace: str) -> CommitAnswer:
    """Commit one workspace. Raises ToolError with the cause when there is no commit."""
    candidate = locate(worker.config.roots, workspace)
    outcome = worker.committer.commit(candidate)
    worker.pass_on_notices()
    if cause := committing.failure(outcome):
        raise ToolError(cause)
    for doubt in committing.doubts(outcome):
        log.warning("%s", doubt)
    return committing.commit_answer(candidate.name, outcome)


def status(worker: Worker, asked: Asked) -> StatusAnswer:
    """Count what is on disk now. Raises ToolError."""
    config, name = worker.config, ""
    if asked.workspace:
        candidate = locate(config.roots, asked.workspace)
        _refuse_unreachable(candidate)
        config, name = replace(config, roots=(candidate.root,)), candidate.name
    # Opened for each call: a reader would stay with a history that was replaced.
    history = History(config.history, read_only=True)
    try:
        found = [standing for standing in workspaces_now(config, history) if not name or standing.workspace == name]
    finally:
        history.close()
    missing = [f"{standing.root}: {standing.last_error}" for standing in found if not standing.workspace]
    _refuse_silence(missing, len(found))
    wanted = [s for s in found if s.workspace and (not asked.status or s.status == asked.status)]
    return count(wanted, asked.limit, missing)


def count(found: list[Standing], limit: int, missing: list[str]) -> StatusAnswer:
    """The answer for some workspaces, with at most `limit` blocked ones (0: all). Pure."""
    by_status = Counter(standing.status or "unreadable" for standing in found)
    blocked = [standing for standing in found if standing.status == "blocked"]
    counts = dict(by_status.most_common(_STATUSES))
    if others := by_status.total() - sum(counts.values()):
        counts["others"] = counts.get("others", 0) + others
    return StatusAnswer(
        total=len(found),
        running=by_status["running"],
        queued=by_status["queued"],
        completed=by_status["completed"],
        failed=by_status["failed"],
        blocked=[_blocked(standing) for standing in blocked[: limit or None]],
        blocked_total=len(blocked),
        counts={shortened(name, 100): number for name, number in counts.items()},
        missing=missing,
    )


def _blocked(standing: Standing) -> Blocked:
    return Blocked(
        name=standing.workspace,
        repo=shortened(standing.repo),
        agent=shortened(standing.agent),
        question=shortened(standing.question),
    )


def locate(roots: tuple[Root, ...], given: str) -> Candidate:
    """The workspace that a client names: a name below a root, or an absolute path. Raises ToolError.

    Where the server was started means nothing to a client, so no path is relative to that.
    """
    refuse_name(given)
    try:
        # Nothing lies below os.devnull: there a name can only be a name.
        return find(roots, given, os.devnull)
    except UnknownWorkspace as error:
        raise ToolError(str(error)) from error


def refuse_name(given: str) -> None:
    """Raise ToolError for what cannot be a name, or leads out of the roots."""
    if problem := name_problem(given):
        raise ToolError(f"{given!a}: {problem}")
    if ".." in given.split("/"):
        raise ToolError(f"{given}: holds '..'; give a name below a root, or an absolute path without it")


def _refuse_unreachable(candidate: Candidate) -> None:
    """The scan passes over what lies behind a symlink, or is not there; a client is told so."""
    try:
        open_place(candidate.root.path, candidate.name).close()
    except WorkspaceError as error:
        raise ToolError(f"{candidate.name}: {error}") from error


def _refuse_silence(missing: list[str], found: int) -> None:
    """A root that cannot be looked into is logged; when there is nothing else, zeros would be a lie."""
    for line in missing:
        log.warning("%s", line)
    if missing and len(missing) == found:
        raise ToolError(f"no root can be looked into: {'; '.join(missing)}")


def shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def bounded(value: Any, longest_list: int = LONGEST_LIST) -> Any:
    """A document with every text and list within bounds; the rest of a list is counted in its last item."""
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, dict):
        return {key: bounded(item, longest_list) for key, item in value.items()}
    if not isinstance(value, (list, tuple)):
        return value
    more = len(value) - longest_list
    kept = [bounded(item, longest_list) for item in value[:longest_list]]
    return [*kept, {"more": more}] if more > 0 else kept
