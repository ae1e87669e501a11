"""Which tools there are, and what a client is told of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from agentic_watch.mcp_server import workspace_tools
from agentic_watch.mcp_server.tool import Argument, CommandTool, Given, Progress, Said, Tool
from agentic_watch.mcp_server.watch_tool import POLL_SECONDS, TIMEOUT_SECONDS, WatchAnswer, Watching
from agentic_watch.mcp_server.worker import Worker
from agentic_watch.mcp_server.workspace_tools import Committed, StatusAnswer

_NAME = "The workspace's name, its path below a root (org/repo/task), or its absolute path."
_YEAR = 366 * 86_400


def all_tools(worker: Worker, watching: Watching, commands: Sequence[CommandTool]) -> list[Tool]:
    """Core-agent's tools, `show`, and the commands that answer."""
    return [
        Tool(
            "agentic_commit",
            "Commit a finished dispatch to its journal, the history and its marker; one that is committed is skipped.",
            (Argument("workspace", _NAME, required=True),),
            _working(worker, partial(workspace_tools.commit, worker)),
            Committed.model_json_schema(),
            reads=False,
        ),
        Tool(
            "agentic_status",
            "Count the workspaces on disk by status, and list the blocked ones with their questions.",
            (
                Argument("workspace", f"Only this one. {_NAME}"),
                Argument("status", "Only those with this status, such as blocked."),
                Argument("limit", "Maximum number of blocked items (0: all).", "number", least=0, default=20),
            ),
            _working(worker, partial(workspace_tools.status, worker)),
            StatusAnswer.model_json_schema(),
        ),
        Tool(
            "agentic_watch",
            "Wait until dispatches are finished and recorded: those named, or all that run or are queued now. Reports "
            "progress as each one ends. Where no daemon runs, finished ones are committed.",
            (
                Argument(
                    "workspaces", "Only these: names, paths below a root (org/repo/task), or absolute paths.", "texts"
                ),
                Argument(
                    "poll_interval",
                    "Seconds between two progress messages while none ends.",
                    "number",
                    most=_YEAR,
                    default=POLL_SECONDS,
                ),
                Argument("timeout", "Seconds to wait at most.", "number", most=_YEAR, default=TIMEOUT_SECONDS),
            ),
            watching.run,
            WatchAnswer.model_json_schema(),
            reads=False,
        ),
        Tool(
            "agentic_show",
            "Show everything about one dispatch: commits, verdicts, findings, and why it is or is not committed.",
            (Argument("workspace", f"{_NAME} Or the id of a commit in the history.", required=True),),
            _working(worker, partial(workspace_tools.show, worker.config)),
        ),
        *(Tool(one.name, one.about, one.arguments, _working(worker, one.ask)) for one in commands),
    ]


def _working(worker: Worker, ask: Callable[[Given], Said]) -> Callable[[Given, Progress], Awaitable[Said]]:
    """A tool's work, done in the worker's thread."""

    async def run(given: Given, _: Progress) -> Said:
        return await worker.run(ask, given)

    return run
