"""The MCP server as its clients see it: a real process, spoken to by the SDK's own client and by hand."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import anyio
import fork_server
import pytest
import support
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.types import CallToolResult
from support import Host

GONE = 2**22 + 1
"""Above the largest pid that Linux gives (PID_MAX_LIMIT, proc(5))."""
MODES = ["auto", "legacy"]
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "by-hand", "version": "1"},
    },
}


def talk(host: Host, conversation: Callable[[Client], Awaitable[None]], mode: Any = "auto") -> str:
    """Run a conversation with a server of the host; gives what the server said on stderr."""
    log = host.base / "stderr"

    async def run() -> None:
        environ = support.environment(host.base)
        words = [*fork_server.joining(environ), *host.arguments(), "mcp"]
        server = StdioServerParameters(command=words[0], args=words[1:], env=environ, cwd=host.base)
        with log.open("w") as errlog:
            async with Client(stdio_client(server, errlog), mode=mode, read_timeout_seconds=120) as client:
                await conversation(client)

    anyio.run(run)
    said = log.read_text()
    assert "Traceback" not in said
    return said


def call(host: Host, *calls: tuple[str, dict[str, Any]], mode: Any = "auto") -> tuple[list[CallToolResult], str]:
    """Call tools one after another; gives the results and what the server said on stderr."""
    results: list[CallToolResult] = []

    async def conversation(client: Client) -> None:
        for tool, arguments in calls:
            results.append(await client.call_tool(tool, arguments))

    said = talk(host, conversation, mode)
    return results, said


def commit(given: str) -> tuple[str, dict[str, Any]]:
    return "agentic_commit", {"workspace": given}


def status(**filters: Any) -> tuple[str, dict[str, Any]]:
    return "agentic_status", filters


def answer(result: CallToolResult) -> dict[str, Any]:
    """The answer of a call that succeeded; where there is structured content it says the same as the text."""
    assert not result.is_error, result.content
    document: dict[str, Any] = json.loads(result.content[0].text)
    assert result.structured_content in (None, document)
    return document


def remarks(result: CallToolResult) -> list[str]:
    """What stands beside an answer, line by line."""
    assert not result.is_error, result.content
    assert len(result.content) in (1, 2)
    return [line for content in result.content[1:] for line in content.text.split("\n")]


def refusal(result: CallToolResult) -> str:
    """The one line of a tool error."""
    assert result.is_error
    assert result.structured_content is None
    (content,) = result.content
    assert "\n" not in content.text
    text: str = content.text
    return text


@pytest.mark.parametrize("mode", MODES)
def test_the_tools_have_the_names_and_fields_of_the_original(host: Host, mode: str) -> None:
    """Both protocol eras list the original's two tools with their parameters, answers and hints."""
    seen: dict[str, Any] = {}

    async def conversation(client: Client) -> None:
        seen.update({tool.name: tool for tool in (await client.list_tools()).tools})

    talk(host, conversation, mode)
    assert {"agentic_commit", "agentic_status"} <= set(seen)
    commit, status = seen["agentic_commit"], seen["agentic_status"]
    assert _types(commit.input_schema) == {"workspace": "string"}
    assert commit.input_schema["required"] == ["workspace"]
    assert _types(status.input_schema) == {"workspace": "string", "status": "string", "limit": "integer"}
    assert "required" not in status.input_schema
    assert list(_types(commit.output_schema)) == [
        "success",
        "workspace",
        "journal_path",
        "marker_path",
        "committed_at",
        "skipped",
    ]
    original = ["total", "running", "queued", "completed", "failed", "blocked"]
    assert list(_types(status.output_schema)) == [*original, "blocked_total", "counts", "ghosts", "missing"]
    assert status.annotations.read_only_hint
    assert commit.annotations.idempotent_hint and not commit.annotations.destructive_hint


def _types(schema: dict[str, Any]) -> dict[str, str]:
    return {name: field["type"] for name, field in schema["properties"].items()}


@pytest.mark.parametrize("mode", MODES)
def test_a_whole_conversation(host: Host, mode: str) -> None:
    """What a client of either era sees from the handshake on: the server, each tool, the resource, errors."""
    support.make(host.root, "acme/api/one", repo="api", agent="codex", report={"findings": [{"code": "G304"}]})
    support.make(host.root, "acme/api/two", repo="api", status="failed", question="exit status 1")
    script: list[tuple[str, dict[str, Any], Callable[[dict[str, Any]], Any], Any]] = [
        ("agentic_commit", {"workspace": "acme/api/one"}, lambda found: found["skipped"], False),
        ("agentic_watch", {}, lambda found: found["success"], True),
        (
            "agentic_watch",
            {"workspaces": ["acme/api/two"]},
            lambda found: found["failed"][0]["question"],
            "exit status 1",
        ),
        ("agentic_status", {}, lambda found: found["counts"], {"completed": 1, "failed": 1}),
        ("agentic_history", {}, lambda found: sorted(row["repo"] for row in found["rows"]), ["api", "api"]),
        ("agentic_show", {"workspace": "acme/api/two"}, lambda found: found["on_disk"]["committed"], True),
        ("agentic_stats", {"by": "repo"}, lambda found: found["rows"][0]["pass_rate"]["passed_count"], 1),
        ("agentic_failures", {"repo": "api"}, lambda found: found["rows"][0]["class"], "exit status N"),
        ("agentic_findings", {}, lambda found: found["rows"][0]["rule"], "G304"),
    ]
    progress: list[tuple[float, float | None, str | None]] = []

    async def on_progress(*told: Any) -> None:
        progress.append(told)

    async def conversation(client: Client) -> None:
        assert client.server_info.name == "agentic-watch"
        assert client.instructions and "Times in answers are UTC" in client.instructions
        assert client.server_capabilities.tools and client.server_capabilities.resources
        listed = (await client.list_tools()).tools
        assert {tool.name for tool in listed} == {tool for tool, *_ in script}
        for tool, arguments, part, expected in script:
            result = await client.call_tool(tool, arguments, progress_callback=on_progress)
            assert part(answer(result)) == expected, tool
        for tool in listed:
            assert "has no argument 'no_such'" in refusal(await client.call_tool(tool.name, {"no_such": 1}))
        (content,) = (await client.read_resource("status://agents")).contents
        assert len(json.loads(content.text)) == 2
        with pytest.raises(MCPError):
            await client.read_resource("status://nothing")

    assert talk(host, conversation, mode) == ""
    assert progress[-1] == (1, 1, "api failed")


@pytest.mark.parametrize("mode", MODES)
def test_a_workspace_is_committed_once_and_then_skipped(host: Host, mode: str) -> None:
    """The first call commits, the second and one by absolute path skip with the same time."""
    workspace = support.make(host.root)
    results, said = call(host, commit(workspace.name), commit(workspace.name), commit(str(workspace.path)), mode=mode)
    committed_at = workspace.line()["committed_at"]
    expected = {
        "success": True,
        "workspace": "org/repo/task",
        "journal_path": str(workspace.journal),
        "marker_path": str(workspace.marker),
        "committed_at": committed_at,
    }
    assert [answer(result) for result in results] == [
        {**expected, "skipped": skipped} for skipped in (False, True, True)
    ]
    assert host.rows()["org/repo/task"]["committed_at"] == committed_at
    assert workspace.mark()["committed_at"] == committed_at
    assert said == ""


def test_the_command_line_gives_the_same_document(host: Host) -> None:
    """`commit --json` after the tool prints the tool's answer, skipped, with the number of its shape."""
    support.make(host.root)
    (result,), _ = call(host, commit("org/repo/task"))
    printed = support.run([*host.arguments(), "commit", "--json", "org/repo/task"], host.base)
    assert json.loads(printed.stdout) == {"schema": 1, **answer(result), "skipped": True}


def test_what_lies_outside_the_roots_or_behind_a_symlink_is_refused(host: Host) -> None:
    """Each way out of the roots is a tool error that names the cause, and nothing is written anywhere."""
    outside = support.make(host.base / "elsewhere", "task")
    support.make(host.root, "org/repo/task")
    (host.root / "link").symlink_to(outside.path)
    (host.root / "org" / "alias").symlink_to(host.root / "org" / "repo")
    causes = {
        str(outside.path): "not found below any root",
        f"{host.root}/../elsewhere/task": "holds '..'",
        "../..": "holds '..'",
        "org/../../elsewhere/task": "holds '..'",
        "link": "is a symbolic link",
        "org/alias/task": "is a symbolic link",
        str(host.root / "org" / "alias" / "task"): "is a symbolic link",
        "": "not found below any root",
        ".": "not found below any root",
        str(host.root): "is a root, not a workspace",
        "no/such/task": "not found below any root",
        "a\0b": "holds control characters",
        "x\ny": "holds control characters",
    }
    before = support.snapshot(host.root), support.snapshot(outside.path)
    results, _ = call(host, *map(commit, causes), *(status(workspace=given) for given in causes if given))
    given = [*causes, *filter(None, causes)]
    refused = [(name, refusal(result)) for name, result in zip(given, results, strict=True)]
    assert [(name, text) for name, text in refused if causes[name] not in text] == []
    assert (support.snapshot(host.root), support.snapshot(outside.path)) == before


def test_a_name_is_never_relative_to_where_the_server_was_started(host: Host) -> None:
    """A server started inside a workspace still finds another by its name below the root."""
    here = support.make(host.root, "org/repo/here")
    support.make(host.root, "org/repo/there")
    arguments = [*host.arguments(), "mcp"]
    with spoken_to_by_hand(arguments, host, cwd=here.path) as (send, _):
        send(INITIALIZE)
        reply = send(_call(2, "agentic_commit", {"workspace": "org/repo/there"}))
    assert reply["result"]["structuredContent"]["workspace"] == "org/repo/there"


def test_an_unfinished_or_broken_workspace_is_a_tool_error(host: Host) -> None:
    """Unfinished is refused by its status, unreadable by file and cause; the server goes on serving."""
    support.make(host.root, "org/repo/busy", status="running")
    broken = support.make(host.root, "org/repo/broken")
    (broken.meta / "status.json").write_text("{")
    good = support.make(host.root, "org/repo/good")
    (busy, unreadable, committed), _ = call(host, *(commit(f"org/repo/{n}") for n in ("busy", "broken", "good")))
    assert "org/repo/busy: is running, which is not finished" in refusal(busy)
    assert "org/repo/broken: .meta/status.json: is not JSON" in refusal(unreadable)
    assert answer(committed)["success"]
    assert list(host.rows()) == [good.name]


def test_status_counts_what_is_on_disk_and_lists_the_questions(host: Host) -> None:
    """The counts follow the literal statuses, filters narrow all of them, limit bounds the blocked list."""
    for number, said in enumerate(("running", "running", "queued", "completed", "merged", "failed")):
        support.make(host.root, f"org/repo/{number}", status=said)
    for name in ("which", "why"):
        support.make(host.root, f"org/ask/{name}", status="blocked", question=f"{name}?", agent="codex:m", repo="ask")
    questions = [
        {"name": f"org/ask/{name}", "repo": "ask", "agent": "codex:m", "question": f"{name}?"}
        for name in ("which", "why")
    ]
    one = {"workspace": "org/ask/why"}
    calls = [{}, {"limit": 1}, {"status": "running"}, one, {**one, "status": "failed"}]
    results, _ = call(host, *(status(**filters) for filters in calls))
    every, limited, running, single, neither = map(answer, results)
    blocked = sorted(every.pop("blocked"), key=lambda entry: str(entry["name"]))
    (first,) = limited.pop("blocked")
    assert blocked == questions
    assert first in questions
    counts = {"running": 2, "blocked": 2, "queued": 1, "completed": 1, "merged": 1, "failed": 1}
    whole = {"total": 8, "running": 2, "queued": 1, "completed": 1, "failed": 1, "blocked_total": 2}
    whole |= {"ghosts": 0, "missing": []}
    assert every == limited == {**whole, "counts": counts}
    none = {"total": 0, "running": 0, "queued": 0, "completed": 0, "failed": 0, "blocked": [], "blocked_total": 0}
    none |= {"counts": {}, "ghosts": 0, "missing": []}
    assert running == {**none, "total": 2, "running": 2, "counts": {"running": 2}}
    assert single == {**none, "total": 1, "blocked": questions[1:], "blocked_total": 1, "counts": {"blocked": 1}}
    assert neither == none


def test_a_ghost_is_not_counted_as_running(host: Host) -> None:
    """A workspace whose process is gone stands apart, as in `status`; its literal status is in the counts."""
    host.once()
    support.make(host.root, "org/repo/alive", status="running")
    support.make(host.root, "org/repo/ghost", status="running", pid=GONE)
    (result,), _ = call(host, status())
    found = answer(result)
    assert (found["running"], found["ghosts"], found["counts"]) == (1, 1, {"running": 2})
    printed = json.loads(support.run([*host.arguments(), "status", "--json"], host.base).stdout)
    assert (len(printed["running"]), len(printed["ghosts"]), printed["counts"]) == (1, 1, {"running": 2})


def test_a_misspelt_status_is_an_error_with_the_one_that_was_meant(host: Host) -> None:
    """Zeros would look like an answer; a status that is only not there now is one."""
    support.make(host.root, status="paused")
    results, _ = call(host, *(status(status=given) for given in ("blokced", "pausd", "queued")))
    assert refusal(results[0]) == "status: no workspace has 'blokced'; did you mean blocked?"
    assert refusal(results[1]) == "status: no workspace has 'pausd'; did you mean paused?"
    assert answer(results[2])["total"] == 0


def test_status_is_the_same_with_and_without_an_index(host: Host) -> None:
    """What was answered from the files is answered from the index after a pass, and anew after a change."""
    workspace = support.make(host.root, status="blocked", question="first?")
    questions: list[str] = []

    async def conversation(client: Client) -> None:
        for change in (lambda: None, host.once, lambda: workspace.write_status(status="blocked", question="second?")):
            change()
            document = answer(await client.call_tool("agentic_status", {}))
            questions.extend(entry["question"] for entry in document["blocked"])

    talk(host, conversation)
    assert questions == ["first?", "first?", "second?"]


def test_status_says_so_when_no_root_can_be_looked_into(host: Host) -> None:
    """Zeros would be a lie when the only root is not there: it is a tool error with the path."""
    host.root.rmdir()
    (result,), said = call(host, status())
    assert f"{host.root}: No such file or directory" in refusal(result)
    assert f"WARNING {host.root}: No such file or directory" in said


def test_the_server_answers_while_a_commit_waits(host: Host) -> None:
    """With the history's write lock held elsewhere a commit waits, other requests do not; then it completes."""
    host.once()
    workspace = support.make(host.root)
    order: list[str] = []

    async def commit_it(client: Client) -> None:
        answer(await client.call_tool("agentic_commit", {"workspace": workspace.name}))
        order.append("committed")

    async def conversation(client: Client) -> None:
        async with anyio.create_task_group() as tasks:
            with support.write_locked(host.history):
                tasks.start_soon(commit_it, client)
                with anyio.fail_after(30):
                    while not workspace.journal.exists():
                        await anyio.sleep(0.01)
                await client.list_tools()
                order.append("listed")

    said = talk(host, conversation)
    assert order == ["listed", "committed"]
    assert list(host.rows()) == [workspace.name]
    assert said == ""


def test_a_history_that_cannot_be_used_stops_no_commit(host: Host) -> None:
    """Journal and marker are written, the answer is success, and the log says what is missing."""
    workspace = support.make(host.root)
    host.history.mkdir(parents=True)
    (result,), said = call(host, commit(workspace.name))
    assert answer(result)["committed_at"] == workspace.line()["committed_at"]
    assert workspace.line()["committed_at"] == workspace.mark()["committed_at"]
    assert "org/repo/task: no history row yet" in said


def test_stdout_carries_the_protocol_only_and_the_end_of_stdin_ends_it(host: Host) -> None:
    """Malformed lines and a log at its loudest leave stdout pure JSON-RPC; at the end of stdin: exit 0, all closed."""
    support.make(host.root)
    with spoken_to_by_hand([*host.arguments(), "-vv", "mcp"], host) as (send, process):
        _write(process, b"this is no JSON\n")
        _write(process, b'{"jsonrpc": "2.0", "id": "\\ud800", "method": "x"}\n\xff\xfe\n')
        assert send(INITIALIZE)["result"]["serverInfo"]["name"] == "agentic-watch"
        _write(process, b"{}\n")
        committed = send(_call(2, "agentic_commit", {"workspace": "org/repo/task"}))
        assert committed["result"]["structuredContent"]["success"]
        assert send(_call(3, "no_such_tool", {}))["id"] == 3
    assert process.returncode == 0
    # SQLite removes the log when the last connection is closed as it should be.
    assert [path.name for path in host.history.parent.iterdir()] == ["history.db"]


def test_a_client_that_reads_no_more_ends_the_server(host: Host) -> None:
    """With nobody at the other end of stdout the next answer ends the process: exit 0, not a word, history closed."""
    host.once()
    for closes_stdin in (False, True):
        with started([*host.arguments(), "mcp"], host) as process:
            assert process.stdout is not None and process.stdin is not None
            _write(process, json.dumps(INITIALIZE).encode() + b"\n")
            process.stdout.readline()
            process.stdout.close()
            _write(process, json.dumps(_call(2, "agentic_history", {})).encode() + b"\n")
            if closes_stdin:
                process.stdin.close()
            assert process.wait(timeout=30) == 0
        assert (host.base / "stderr").read_text() == ""
        assert [path.name for path in host.history.parent.iterdir()] == ["history.db"]


def test_asking_makes_no_history(host: Host) -> None:
    """A history that is not there may have a wrong name: asking is an error that says it; only a commit makes one."""
    support.make(host.root)
    tools = ("agentic_history", "agentic_stats", "agentic_failures", "agentic_findings")
    results, said = call(host, *((tool, {}) for tool in tools), ("agentic_show", {"workspace": "4711"}), status())
    assert {refusal(result) for result in results[:5]} == {
        f"no history at {host.history} yet; run agentic-watch --once to create it"
    }
    assert answer(results[5])["total"] == 1
    assert not host.history.parent.exists()
    assert said == ""


def test_an_interrupt_ends_a_server_whose_stdin_stays_open(host: Host) -> None:
    """Ctrl-C ends the process although a thread is reading stdin, without a traceback."""
    with spoken_to_by_hand([*host.arguments(), "mcp"], host) as (send, process):
        send(INITIALIZE)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == -signal.SIGINT


def test_a_history_of_a_newer_program_is_refused_at_the_start(host: Host) -> None:
    """One line, exit 78, nothing on stdout, before any client is answered."""
    host.history.parent.mkdir()
    with closing(sqlite3.connect(host.history)) as connection:
        connection.execute("PRAGMA user_version = 99")
    result = support.run([*host.arguments(), "mcp"], host.base)
    assert (result.returncode, result.stdout) == (78, "")
    assert "schema version 99" in result.stderr


@pytest.mark.parametrize("absent", [["mcp"], ["mcp", "anyio", "pydantic"]])
def test_without_the_extra_one_line_says_what_to_install(host: Host, absent: list[str]) -> None:
    """Without the SDK, or what it brings: exit 1, the remedy on stderr, nothing on stdout."""
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); from agentic_watch.cli import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, *host.arguments(), "mcp"],
        env=support.environment(host.base),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1
    assert "extra 'mcp'" in result.stderr
    assert sys.executable in result.stderr


def test_the_command_line_does_not_import_the_sdk(host: Host) -> None:
    """Neither the help nor the command's own module costs the second that mcp takes to import."""
    code = "import sys, agentic_watch.cli, agentic_watch.cli.mcp_command; print('mcp' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout == "False\n"


def _call(number: int, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def _write(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


def _message(line: bytes) -> dict[str, Any]:
    """A line of stdout, which is a JSON-RPC message and nothing else."""
    message: dict[str, Any] = json.loads(line)
    assert message["jsonrpc"] == "2.0"
    return message


@contextmanager
def spoken_to_by_hand(
    arguments: list[str], host: Host, cwd: Path | None = None
) -> Iterator[tuple[Callable[[dict[str, Any]], dict[str, Any]], subprocess.Popen[bytes]]]:
    """A server and a function that sends a request and gives its response.

    In the end stdin is closed, the exit awaited, and the rest of stdout and stderr judged.
    """
    with started(arguments, host, cwd) as process:
        assert process.stdout is not None
        out: IO[bytes] = process.stdout

        def send(request: dict[str, Any]) -> dict[str, Any]:
            _write(process, json.dumps(request).encode() + b"\n")
            for line in out:
                message = _message(line)
                if message.get("id") == request["id"]:
                    return message
            raise AssertionError("stdout ended without the response")

        yield send, process
        assert process.stdin is not None
        process.stdin.close()
        for line in out:
            _message(line)
        process.wait(timeout=20)
    assert "Traceback" not in (host.base / "stderr").read_text()


@contextmanager
def started(arguments: list[str], host: Host, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A server, killed in the end if it still runs; what it says on stderr is in the file of that name."""
    with (host.base / "stderr").open("wb") as log:
        process = subprocess.Popen(
            support.command(arguments),
            env=support.environment(host.base),
            cwd=cwd or host.base,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()
