"""The tools on workspaces: commit, status, the list of agents, and show.

They run in one worker thread, while the server's thread handles the protocol.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar, get_type_hints

from pydantic import BaseModel, create_model

from agentic_watch.answers.now import commit_answer
from agentic_watch.answers.now.workspaces_now import WorkspaceSnapshot, workspaces_now
from agentic_watch.answers.past import show_dispatch
from agentic_watch.answers.past.show_dispatch import NoSuchDispatch
from agentic_watch.commit.committer import Committer
from agentic_watch.config import KNOWN_STATUSES, Config, ConfigError, NoRootsError, Root
from agentic_watch.history import HistoryError, HistoryRefused
from agentic_watch.history.store import History
from agentic_watch.mcp_server.tool import Said, ToolRefusal, bounded, near, shortened
from agentic_watch.workspace.candidate import Candidate, UnknownWorkspace, find
from agentic_watch.workspace.layout import name_problem
from agentic_watch.workspace.place import open_place
from agentic_watch.workspace.workspace_errors import WorkspaceError

log = logging.getLogger("agentic_watch.mcp")
P = ParamSpec("P")
T = TypeVar("T")

_STATUSES = 50
"""Statuses counted by name; agents may write any number of different ones."""
_LISTED = 20
_COMMITS = 20
_AGENTS = 1_000
_UNENDED = ("running", "queued", "blocked")


class Worker:
    """The worker thread with its writing connection to the history."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._history = History(config.history)
        self.committer = Committer(config, self._history)
        self._thread = ThreadPoolExecutor(1, "mcp-worker")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in the worker thread. Raises ToolRefusal for foreseeable errors."""

        def guarded() -> T:
            try:
                return work(*args, **kwargs)
            except (HistoryRefused, HistoryError, ConfigError, NoRootsError) as error:
                raise ToolRefusal("; ".join(str(error).split("\n"))) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    def open(self) -> None:
        """Open the history; log if it does not exist or is not available. Raises HistoryRefused."""
        self._thread.submit(self._open).result()

    def close(self) -> None:
        """Finish current work, then close everything."""
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    def _open(self) -> None:
        if not os.path.lexists(self.config.history):
            # Queries do not create a history, because the path may be wrong. A commit does, as on the command line.
            log.info("%s: there is no history; the first commit creates it", self.config.history)
            return
        try:
            self._history.open()
        except HistoryError as error:
            log.warning("%s; commits continue without it, and their rows are added later from the journals", error)
        self.pass_on_notices()

    def _close(self) -> None:
        self.committer.close()
        self._history.close()

    def pass_on_notices(self) -> None:
        """Log notices of the history for the operator."""
        for notice in self._history.notices:
            log.warning("%s", notice)
        self._history.notices.clear()


Committed = create_model("Committed", __doc__="What became of a commit.", **get_type_hints(commit_answer.CommitAnswer))
"""The schema of a commit's answer; pydantic reads no TypedDict of the standard library before Python 3.12."""


class Blocked(BaseModel):
    """A dispatch that waits for an answer."""

    name: str
    repo: str
    agent: str
    question: str


class StatusAnswer(BaseModel):
    """Counts of the requested workspaces: `total`, and one field per status.

    `ghosts` have the status running, but their process is gone: `running` does not include them. `counts` has every
    status by its name, and "unreadable" for those without one; `blocked` may be shorter than `blocked_total`.
    `missing` lists unreadable roots, whose workspaces are not counted.
    """

    total: int
    running: int
    queued: int
    completed: int
    failed: int
    blocked: list[Blocked]
    blocked_total: int
    counts: dict[str, int]
    ghosts: int
    missing: list[str]


def commit(worker: Worker, given: dict[str, Any]) -> Said:
    """Commit one workspace. Raises ToolRefusal with the cause when there is no commit."""
    candidate = locate(worker.config.roots, given["workspace"])
    outcome = commit_answer.when_free(worker.committer, candidate)
    worker.pass_on_notices()
    if cause := commit_answer.failure(outcome):
        raise ToolRefusal(cause)
    for doubt in commit_answer.doubts(outcome):
        log.warning("%s", doubt)
    return Said({**commit_answer.answer(candidate.name, outcome)})


def status(worker: Worker, given: dict[str, Any]) -> Said:
    """Count what is on disk now. Raises ToolRefusal."""
    config, name, status = worker.config, "", given.get("status", "")
    if "workspace" in given:
        candidate = locate(config.roots, given["workspace"])
        _refuse_unreachable(candidate)
        config, name = config._replace(roots=(candidate.root,)), candidate.name
    found = [standing for standing in standings(config) if not name or standing.workspace == name]
    missing = [f"{standing.root}: {standing.last_error}" for standing in found if not standing.workspace]
    _refuse_silence(missing, len(found))
    known = KNOWN_STATUSES | config.finished | {standing.status for standing in found}
    if status and status not in known and (meant := near(status, known)):
        raise ToolRefusal(f"status: no workspace has {status!a}{meant}")
    wanted = [s for s in found if s.workspace and (not status or s.status == status)]
    return Said(count(wanted, given.get("limit", _LISTED), missing).model_dump())


def agents(config: Config) -> list[dict[str, str]]:
    """core-agent's list of all workspaces; if there are too many, unfinished ones first, then the newest."""
    found = [standing for standing in standings(config) if standing.workspace]
    if len(found) > _AGENTS:
        found.sort(key=lambda standing: (standing.status in _UNENDED, standing.updated_utc or ""), reverse=True)
    return [
        {
            "name": standing.workspace,
            "status": shortened(standing.status),
            "repo": shortened(standing.repo),
            "agent": shortened(standing.agent),
        }
        for standing in found[:_AGENTS]
    ]


def standings(config: Config) -> list[WorkspaceSnapshot]:
    """All workspaces on disk. Raises HistoryRefused."""
    # Opened for each call, because a long-lived reader would keep using a replaced history.
    history = History(config.history, read_only=True)
    try:
        return list(workspaces_now(config, history))
    finally:
        history.close()


def count(found: list[WorkspaceSnapshot], limit: int, missing: list[str]) -> StatusAnswer:
    """The answer for some workspaces, with at most `limit` blocked ones (0: all). Pure."""
    by_status = Counter(standing.status or "unreadable" for standing in found)
    ghosts = sum(standing.ghost for standing in found)
    blocked = [standing for standing in found if standing.status == "blocked"]
    counts = dict(by_status.most_common(_STATUSES))
    if others := by_status.total() - sum(counts.values()):
        counts["others"] = counts.get("others", 0) + others
    return StatusAnswer(
        total=len(found),
        running=by_status["running"] - ghosts,
        queued=by_status["queued"],
        completed=by_status["completed"],
        failed=by_status["failed"],
        blocked=[_blocked(standing) for standing in blocked[: limit or None]],
        blocked_total=len(blocked),
        counts={shortened(name, 100): number for name, number in counts.items()},
        ghosts=ghosts,
        missing=missing,
    )


def _blocked(standing: WorkspaceSnapshot) -> Blocked:
    return Blocked(
        name=standing.workspace,
        repo=shortened(standing.repo),
        agent=shortened(standing.agent),
        question=shortened(standing.question),
    )


def show(config: Config, given: dict[str, Any]) -> Said:
    """One dispatch: what `show --json` prints, without its report. Raises ToolRefusal, HistoryError, HistoryRefused."""
    refuse_name(given["workspace"])
    try:
        # As in `locate`: paths are never relative to the server's working directory.
        found = show_dispatch.document(show_dispatch.one_dispatch(config, given["workspace"], os.devnull))
    except NoSuchDispatch as error:
        raise ToolRefusal(str(error)) from error
    if found["dispatch"] is not None:
        found["dispatch"].pop("report", None)
    cut: dict[str, str] = {}
    # The newest commits are those that matter.
    if (count := len(found["commits"])) > _COMMITS:
        cut["commits"] = f"commits: the newest {_COMMITS} of {count:,}"
        found["commits"] = found["commits"][-_COMMITS:]
    document = bounded(found, cut)
    return Said(document, tuple(cut.values()))


def locate(roots: tuple[Root, ...], given: str) -> Candidate:
    """The workspace that a client names: a name below a root, or an absolute path. Raises ToolRefusal.

    No path is relative to the server's working directory, which clients do not know.
    """
    refuse_name(given)
    try:
        # No path is below os.devnull, so a name is only a name.
        return find(roots, given, os.devnull)
    except UnknownWorkspace as error:
        raise ToolRefusal(str(error)) from error


def refuse_name(given: str) -> None:
    """Raise ToolRefusal for what cannot be a name, or leads out of the roots."""
    if problem := name_problem(given):
        raise ToolRefusal(f"{given!a}: {problem}")
    if ".." in given.split("/"):
        raise ToolRefusal(f"{given}: holds '..'; give a name below a root, or an absolute path without it")


def _refuse_unreachable(candidate: Candidate) -> None:
    """Raise for a workspace behind a symlink, or a missing one, which scans do not find."""
    try:
        open_place(candidate.root.path, candidate.name).close()
    except WorkspaceError as error:
        raise ToolRefusal(f"{candidate.name}: {error}") from error


def _refuse_silence(missing: list[str], found: int) -> None:
    """Log unreadable roots; raise if there is nothing else, because zeros would be wrong."""
    for line in missing:
        log.warning("%s", line)
    if missing and len(missing) == found:
        raise ToolRefusal(f"no root can be read: {'; '.join(missing)}")
