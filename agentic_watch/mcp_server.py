"""The original's tools over MCP, on stdio: a thin wrapper over the same commit. The only import of mcp.

The transport owns stdout; whatever else is said goes to the log. A failure that was foreseen is a tool error
of one line (`isError`), so that a client never takes it for an answer.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Annotated, ParamSpec, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import BaseModel, Field

from agentic_watch import __version__
from agentic_watch.answers import committing
from agentic_watch.answers.committing import CommitAnswer
from agentic_watch.answers.standing import Standing
from agentic_watch.answers.workspaces_now import workspaces_now
from agentic_watch.commit import Committer
from agentic_watch.config import Config, Root
from agentic_watch.history.history_errors import HistoryError, HistoryRefused
from agentic_watch.history.store import History
from agentic_watch.workspace.find import UnknownWorkspace, find
from agentic_watch.workspace.layout import Candidate
from agentic_watch.workspace.names import name_problem
from agentic_watch.workspace.place import open_place
from agentic_watch.workspace.workspace_errors import WorkspaceError

log = logging.getLogger("agentic_watch.mcp")
P = ParamSpec("P")
T = TypeVar("T")

_WORKSPACE = "The workspace's name, its path below a root (org/repo/task), or its absolute path."


class Blocked(BaseModel):
    """A dispatch that waits for an answer."""

    name: str
    repo: str
    agent: str
    question: str


class StatusAnswer(BaseModel):
    """Counts of the workspaces that were asked for; each but `total` counts the status of that very name."""

    total: int
    running: int
    queued: int
    completed: int
    failed: int
    blocked: list[Blocked]


def serve(config: Config) -> None:
    """Serve until stdin ends. Raises HistoryRefused."""
    worker = Worker(config)
    try:
        worker.open()
        build(worker).run("stdio")
    finally:
        worker.close()


def build(worker: Worker) -> MCPServer[None]:
    """The server with its two tools; their docstrings and annotations are what a client is shown."""
    server: MCPServer[None] = MCPServer("agentic-watch", version=__version__)

    @server.tool(annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=True, open_world_hint=False))
    async def agentic_commit(workspace: Annotated[str, Field(description=_WORKSPACE)]) -> CommitAnswer:
        """Commit a finished dispatch to its journal, the history and its marker; one that is committed is skipped."""
        return await worker.run(worker.commit, workspace)

    @server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
    async def agentic_status(
        workspace: Annotated[str, Field(description=f"Only this one. {_WORKSPACE}")] = "",
        status: Annotated[str, Field(description="Only those with this status, such as blocked.")] = "",
        limit: Annotated[int, Field(ge=0, description="The longest list of blocked ones; 0 is all.")] = 0,
    ) -> StatusAnswer:
        """Count the workspaces on disk by status, and list the blocked ones with their questions."""
        return await worker.run(worker.status, workspace, status, limit)

    return server


class Worker:
    """Does the tools' work, all of it in one thread: the history's connection belongs to that thread.

    Meanwhile the server's own thread answers. Every method but `run`, `open` and `close` runs in the worker's.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._history = History(config.history)
        self._committer = Committer(config, self._history)
        self._thread = ThreadPoolExecutor(1, "mcp-worker")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do some work in the worker's thread."""

        def guarded() -> T:
            try:
                return work(*args, **kwargs)
            except HistoryRefused as error:
                raise ToolError(str(error)) from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, guarded)

    def open(self) -> None:
        """Open the history; one that cannot be used now is logged. Raises HistoryRefused."""
        self._thread.submit(self._open).result()

    def close(self) -> None:
        """Finish the work in hand, then close everything."""
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    def _open(self) -> None:
        try:
            self._history.open()
        except HistoryError as error:
            log.warning("%s; commits go on without it, their rows are added later from the journals", error)
        self._pass_on_notices()

    def _close(self) -> None:
        self._committer.close()
        self._history.close()

    def _pass_on_notices(self) -> None:
        for notice in self._history.notices:
            log.warning("%s", notice)
        self._history.notices.clear()

    def commit(self, workspace: str) -> CommitAnswer:
        """Commit one workspace. Raises ToolError with the cause when there is no commit."""
        candidate = locate(self._config.roots, workspace)
        outcome = self._committer.commit(candidate)
        self._pass_on_notices()
        if cause := committing.failure(outcome):
            raise ToolError(cause)
        for doubt in committing.doubts(outcome):
            log.warning("%s", doubt)
        return committing.commit_answer(candidate.name, outcome)

    def status(self, workspace: str, status: str, limit: int) -> StatusAnswer:
        """Count what is on disk now. "" and 0 do not filter. Raises ToolError."""
        config, name = self._config, ""
        if workspace:
            candidate = locate(config.roots, workspace)
            _refuse_unreachable(candidate)
            config, name = replace(config, roots=(candidate.root,)), candidate.name
        # Opened for each call: a reader would stay with a history that was replaced.
        history = History(config.history, read_only=True)
        try:
            found = [standing for standing in workspaces_now(config, history) if not name or standing.workspace == name]
        finally:
            history.close()
        _refuse_silence(found)
        return count([s for s in found if s.workspace and (not status or s.status == status)], limit)


def count(found: list[Standing], limit: int) -> StatusAnswer:
    """The answer for some workspaces, with at most `limit` blocked ones (0: all). Pure."""
    by_status = Counter(standing.status for standing in found)
    blocked = [
        Blocked(name=standing.workspace, repo=standing.repo, agent=standing.agent, question=standing.question)
        for standing in found
        if standing.status == "blocked"
    ]
    return StatusAnswer(
        total=len(found),
        running=by_status["running"],
        queued=by_status["queued"],
        completed=by_status["completed"],
        failed=by_status["failed"],
        blocked=blocked[: limit or None],
    )


def locate(roots: tuple[Root, ...], given: str) -> Candidate:
    """The workspace that a client names: a name below a root, or an absolute path. Raises ToolError.

    Where the server was started means nothing to a client, so no path is relative to that.
    """
    if problem := name_problem(given):
        raise ToolError(f"{given!a}: {problem}")
    if ".." in given.split("/"):
        raise ToolError(f"{given}: holds '..'; give a name below a root, or an absolute path without it")
    try:
        # Nothing lies below os.devnull: there a name can only be a name.
        return find(roots, given, os.devnull)
    except UnknownWorkspace as error:
        raise ToolError(str(error)) from error


def _refuse_unreachable(candidate: Candidate) -> None:
    """The scan passes over what lies behind a symlink, or is not there; a client is told so."""
    try:
        open_place(candidate.root.path, candidate.name).close()
    except WorkspaceError as error:
        raise ToolError(f"{candidate.name}: {error}") from error


def _refuse_silence(found: list[Standing]) -> None:
    """A root that cannot be looked into is logged; when there is nothing else, zeros would be a lie."""
    unavailable = [f"{standing.root}: {standing.last_error}" for standing in found if not standing.workspace]
    for line in unavailable:
        log.warning("%s", line)
    if unavailable and len(unavailable) == len(found):
        raise ToolError(f"no root can be looked into: {'; '.join(unavailable)}")
