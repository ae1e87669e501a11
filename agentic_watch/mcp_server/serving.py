"""The server: its tools with their descriptions, and its resource, over the SDK's stdio transport."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from functools import partial

import anyio
from mcp import MCPError
from mcp.server import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ListResourcesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from mcp.types import Tool as ListedTool

from agentic_watch import __version__
from agentic_watch.config import Config
from agentic_watch.mcp_server import workspace_tools
from agentic_watch.mcp_server.tool import (
    Argument,
    Said,
    Tool,
    ToolRefusal,
    checked,
    near,
    schema,
    shown,
)
from agentic_watch.mcp_server.watch_tool import POLL_SECONDS, TIMEOUT_SECONDS, WatchAnswer, Watching
from agentic_watch.mcp_server.workspace_tools import Committed, StatusAnswer, Worker
from agentic_watch.workspace.jsontext import as_text, dump

_NAME = "The workspace's name, its path below a root (org/repo/task), or its absolute path."
_YEAR = 366 * 86_400


def all_tools(worker: Worker, commands: Sequence[Tool]) -> list[Tool]:
    """Core-agent's tools, `show`, and the commands that answer."""
    return [
        Tool(
            "agentic_commit",
            "Commit a finished dispatch to its journal, the history and its marker; one that is committed is skipped.",
            (Argument("workspace", _NAME, required=True),),
            partial(workspace_tools.commit, worker),
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
            partial(workspace_tools.status, worker),
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
            None,
            WatchAnswer.model_json_schema(),
            reads=False,
        ),
        Tool(
            "agentic_show",
            "Show everything about one dispatch: commits, verdicts, findings, and why it is or is not committed.",
            (Argument("workspace", f"{_NAME} Or the id of a commit in the history.", required=True),),
            partial(workspace_tools.show, worker.config),
        ),
        *commands,
    ]


AGENTS = "status://agents"
_ABOUT_US = (
    "Finished dispatches of coding agents on this host. agentic_status and agentic_watch look at the workspaces on "
    "disk, the others at the history. Times in answers are UTC."
)


def serve(config: Config, commands: Sequence[Tool]) -> None:
    """Serve until stdin ends or stdout is closed. Raises HistoryRefused."""
    worker = Worker(config)
    watching = Watching(worker)
    try:
        worker.open()
        anyio.run(_serve, build(worker, watching, commands), worker)
    except* BrokenPipeError:
        pass  # the client closed both pipes
    finally:
        watching.close()
        worker.close()


async def _serve(server: Server[None], worker: Worker) -> None:
    async with stdio_server() as (incoming, outgoing):
        try:
            await server.run(incoming, outgoing, server.create_initialization_options())
        except asyncio.CancelledError:
            # stdout was closed. The thread that reads stdin cannot be interrupted, so the process ends here.
            worker.close()
            os._exit(0)


def build(worker: Worker, watching: Watching, commands: Sequence[Tool]) -> Server[None]:
    """The server with its handlers."""
    known = {tool.name: tool for tool in all_tools(worker, commands)}

    async def list_tools(_: ServerRequestContext[None], __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[_listed(tool) for tool in known.values()])

    async def call(ctx: ServerRequestContext[None], params: CallToolRequestParams) -> CallToolResult:
        try:
            if params.name not in known:
                raise ToolRefusal(f"no tool {shown(params.name)}{near(params.name, known)}")
            tool = known[params.name]
            given = checked(tool, params.arguments or {})
            if tool.ask is None:
                said = await watching.run(given, ctx.session.report_progress)
            else:
                said = await worker.run(tool.ask, given)
        except ToolRefusal as error:
            return CallToolResult(content=_texts(str(error)), is_error=True)
        return _result(tool, said)

    return Server(
        "agentic-watch",
        version=__version__,
        instructions=_ABOUT_US,
        on_list_tools=list_tools,
        on_call_tool=call,
        on_list_resources=_list_resources,
        on_read_resource=partial(_read_resource, worker),
    )


def _listed(tool: Tool) -> ListedTool:
    hints = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    if not tool.reads:
        hints = ToolAnnotations(destructive_hint=False, idempotent_hint=True, open_world_hint=False)
    return ListedTool(
        name=tool.name,
        description=tool.about,
        input_schema=schema(tool.arguments),
        output_schema=tool.answers,
        annotations=hints,
    )


def _result(tool: Tool, said: Said) -> CallToolResult:
    """The document as text, and the remarks as a second text.

    Some clients pass only structured content to their model if there is any (Claude Code), others only the text. So
    structured content, a repetition, is included only for tools with an output schema.
    """
    document = as_text(said.document)
    content = _texts(dump(document, sort_keys=False), *(["\n".join(said.remarks)] if said.remarks else []))
    return CallToolResult(content=content, structured_content=document if tool.answers else None)


def _texts(*texts: str) -> list[ContentBlock]:
    return [TextContent(type="text", text=as_text(text)) for text in texts]


async def _list_resources(_: ServerRequestContext[None], __: PaginatedRequestParams | None) -> ListResourcesResult:
    about = "Name, status, repository and agent of each workspace on disk."
    listed = Resource(name="Agent Status", uri=AGENTS, description=about, mime_type="application/json")
    return ListResourcesResult(resources=[listed])


async def _read_resource(
    worker: Worker, _: ServerRequestContext[None], params: ReadResourceRequestParams
) -> ReadResourceResult:
    if params.uri != AGENTS:
        raise MCPError(INVALID_PARAMS, f"no resource {shown(params.uri)}; there is {AGENTS}")
    found = await worker.run(workspace_tools.agents, worker.config)
    text = json.dumps(as_text(found), ensure_ascii=False)
    return ReadResourceResult(contents=[TextResourceContents(uri=AGENTS, mime_type="application/json", text=text)])
