"""The server: which tools there are, and what a client is told of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations
from pydantic import Field

from agentic_watch import __version__
from agentic_watch.answers.committing import CommitAnswer
from agentic_watch.config import Config
from agentic_watch.mcp_server import answer_tools, workspace_tools
from agentic_watch.mcp_server.answer_tools import Wish
from agentic_watch.mcp_server.worker import Worker
from agentic_watch.mcp_server.workspace_tools import Asked, StatusAnswer

_NAME = "The workspace's name, its path below a root (org/repo/task), or its absolute path."
_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)

Workspace = Annotated[str, Field(description=_NAME)]
Several = Annotated[str, Field(description="Comma-separated values to include.")]
Point = Annotated[str, Field(description="90m, 12h, 7d, 2w, today, yesterday, week, 2026-04-14 or an RFC 3339 time.")]
By = Literal["agent", "model", "repo", "org", "status", "host", "day", "week", "pr"]
Limit = Annotated[int, Field(ge=1, le=200, description="Maximum number of items.")]


def serve(config: Config) -> None:
    """Serve until stdin ends. Raises HistoryRefused."""
    worker = Worker(config)
    try:
        worker.open()
        build(worker).run("stdio")
    finally:
        worker.close()


def build(worker: Worker) -> MCPServer[None]:
    """The server with its tools; their docstrings and annotations are what a client is shown."""
    server: MCPServer[None] = MCPServer("agentic-watch", version=__version__)
    _add_workspace_tools(server, worker)
    _add_history_tools(server, worker)
    _add_judging_tools(server, worker)
    return server


def _add_workspace_tools(server: MCPServer[None], worker: Worker) -> None:
    @server.tool(annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=True, open_world_hint=False))
    async def agentic_commit(workspace: Workspace) -> CommitAnswer:
        """Commit a finished dispatch to its journal, the history and its marker; one that is committed is skipped."""
        return await worker.run(workspace_tools.commit, worker, workspace)

    @server.tool(annotations=_READS)
    async def agentic_status(
        workspace: Annotated[str, Field(description=f"Only this one. {_NAME}")] = "",
        status: Annotated[str, Field(description="Only those with this status, such as blocked.")] = "",
        limit: Annotated[int, Field(ge=0, description="Maximum number of blocked items (0: all).")] = 20,
    ) -> StatusAnswer:
        """Count the workspaces on disk by status, and list the blocked ones with their questions."""
        return await worker.run(workspace_tools.status, worker, Asked(workspace, status, limit))


def _add_history_tools(server: MCPServer[None], worker: Worker) -> None:
    @server.tool(annotations=_READS)
    async def agentic_history(
        search: Annotated[str, Field(description="Words that must all match; the last may be a prefix.")] = "",
        repo: Several = "",
        org: Several = "",
        agent: Several = "",
        status: Several = "",
        workspace: Workspace = "",
        since: Point = "",
        until: Point = "",
        limit: Limit = 20,
    ) -> dict[str, Any]:
        """List committed dispatches, newest first: each dispatch's newest commit, without its report."""
        filters = {"search": search, "repo": repo, "org": org, "agent": agent, "status": status}
        filters |= {"workspace": workspace, "since": since, "until": until}
        return await worker.run(answer_tools.history, worker.config, filters, limit)

    @server.tool(annotations=_READS)
    async def agentic_show(
        workspace: Annotated[str, Field(description=f"{_NAME} Or the id of a commit in the history.")],
    ) -> dict[str, Any]:
        """Show everything about one dispatch: commits, verdicts, findings, and why it is or is not committed."""
        return await worker.run(answer_tools.show, worker.config, workspace)


def _add_judging_tools(server: MCPServer[None], worker: Worker) -> None:
    @server.tool(annotations=_READS)
    async def agentic_stats(
        by: Annotated[By, Field(description="Group by this; pr: pull request.")] = "agent",
        repo: Several = "",
        agent: Several = "",
        since: Point = "",
        until: Point = "",
        limit: Limit = 20,
    ) -> dict[str, Any]:
        """Show pass rate, duration, tokens, cost, findings and lines by agent (or `by`)."""
        filters = {"repo": repo, "agent": agent, "since": since, "until": until}
        return await worker.run(answer_tools.stats, worker.config, filters, by, limit)

    @server.tool(annotations=_READS)
    async def agentic_failures(
        repo: Several = "", agent: Several = "", since: Point = "", until: Point = "", limit: Limit = 20
    ) -> dict[str, Any]:
        """Show why dispatches failed or wait, grouped by cause with examples; likely host failures come separately."""
        filters = {"repo": repo, "agent": agent, "since": since, "until": until}
        return await worker.run(answer_tools.failures, worker.config, filters, limit)

    @server.tool(annotations=_READS)
    async def agentic_findings(
        by: Annotated[Literal["rule", "file", "tool", "repo"], Field(description="Count by this.")] = "rule",
        kind: Annotated[
            Literal["", "persistent", "new", "gone"],
            Field(description="Show what changed over a repository's runs instead."),
        ] = "",
        runs: Annotated[int, Field(ge=2, le=100, description="For persistent: number of runs in a row.")] = 3,
        repo: Several = "",
        agent: Several = "",
        since: Point = "",
        until: Point = "",
        limit: Limit = 20,
    ) -> dict[str, Any]:
        """Show which findings recur, are new, or are gone, and in how many repositories a rule recurs."""
        filters = {"repo": repo, "agent": agent, "since": since, "until": until}
        return await worker.run(answer_tools.findings, worker.config, filters, Wish(by, kind or None, runs), limit)
