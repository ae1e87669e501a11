"""core-agent's waiting tool and its resource: spoken to by the SDK's own client over stdio."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import anyio
import pytest
import support
from mcp import Client, MCPError
from support import Host
from test_mcp import GONE, INITIALIZE, _call, _write, answer, call, refusal, started, talk

from agentic_watch.mcp_server.watch_tool import go_duration

Heard = list[tuple[float, float | None, str | None]]


def watching(host: Host, ends: Callable[[], None], arguments: dict[str, Any]) -> tuple[dict[str, Any], Heard]:
    """What a call answers during which something ends, and the progress that it told; it waits before that."""
    answers, heard = [], Heard()
    waits = anyio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))
        waits.set()

    async def conversation(client: Client) -> None:
        async def wait() -> None:
            told = await client.call_tool("agentic_watch", arguments, progress_callback=on_progress)
            answers.append(answer(told))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await waits.wait()
            assert answer(await client.call_tool("agentic_status", {}))["total"]  # others are answered meanwhile
            ends()

    talk(host, conversation)
    (found,) = answers
    assert [progress for progress, *_ in heard] == sorted({progress for progress, *_ in heard})
    return found, heard


def test_what_runs_is_waited_for_until_it_is_recorded(host: Host) -> None:
    """Without names: all that run or are queued, but for ghosts; each has its row when it is told, and its outcome."""
    host.once()
    running = support.make(host.root, "acme/api/one", status="running", pid=os.getpid())
    queued = support.make(host.root, "acme/web/two", status="queued")
    support.make(host.root, "acme/web/ghost", status="running", pid=GONE)
    support.make(host.root, "acme/web/done")

    def end() -> None:
        common = {"started_at": support.STARTED, "updated_at": "2026-04-14T12:00:00Z"}
        running.write_status(agent="codex:o3", repo="api", pr_url="https://example.org/1", **common)
        queued.write_status(agent="claude", repo="web", status="blocked", question="Which?", **common)

    found, heard = watching(host, end, {"poll_interval": 1, "timeout": 120})
    passed = {"workspace": "acme/api/one", "agent": "codex:o3", "repo": "api", "status": "completed"}
    waits = {"workspace": "acme/web/two", "agent": "claude", "repo": "web", "status": "blocked", "question": "Which?"}
    assert found["completed"] == [{**passed, "pr_url": "https://example.org/1"}]
    assert (found["success"], found["failed"]) == (False, [waits])
    assert found["duration"].endswith("s")
    assert set(host.rows()) == {"acme/api/one", "acme/web/two"}
    told = [entry for entry in heard if entry[0].is_integer()]
    assert [entry[:2] for entry in told] == [(1, 2), (2, 2)]
    assert {message for *_, message in told} == {"api completed (codex:o3)", "web blocked (claude)"}
    assert heard[0][2] == "waiting for 2 of 2"


def test_named_ones_are_waited_for_by_name_or_path(host: Host) -> None:
    """Recorded ones end at once; those missing when the time is over are told so, under the names that were given."""
    host.once()
    recorded = support.make(host.root, "acme/api/one", repo="api", agent="codex")
    support.make(host.root, "acme/api/two", status="running", pid=os.getpid())
    host.once()
    named = [str(recorded.path), "acme/api/two", "acme/api/none", "acme/api/two"]
    results, said = call(
        host,
        ("agentic_watch", {"workspaces": "acme/api/one"}),
        ("agentic_watch", {"workspaces": named, "timeout": 1, "poll_interval": 0}),
        ("agentic_watch", {"workspaces": ["../elsewhere"]}),
        ("agentic_watch", {"workspaces": [str(host.base)]}),
        ("agentic_watch", {"workspace": "acme/api/one"}),
    )
    one = {"workspace": "acme/api/one", "agent": "codex", "repo": "api", "status": "completed"}
    found = answer(results[0])
    assert (found["success"], found["completed"], found["failed"]) == (True, [one], [])
    found = answer(results[1])
    assert (found["success"], found["completed"]) == (False, [{**one, "workspace": str(recorded.path)}])
    timeout = {"agent": "", "repo": "", "status": "timeout"}
    assert found["failed"] == [
        {**timeout, "workspace": "acme/api/two", "error": "is running"},
        {**timeout, "workspace": "acme/api/none", "error": "is not there yet"},
    ]
    assert "holds '..'" in refusal(results[2])
    assert "not found below any root" in refusal(results[3])
    assert "did you mean workspaces?" in refusal(results[4])
    assert said == ""


def test_nothing_to_wait_for_is_a_success(host: Host) -> None:
    """As core-agent answers it."""
    support.make(host.root)
    (result,), _ = call(host, ("agentic_watch", {}))
    assert answer(result) == {"success": True, "completed": [], "failed": [], "duration": "0s"}


def test_a_cancelled_wait_ends_and_the_server_goes_on(host: Host) -> None:
    """Of one more than may wait at one time one is refused; when the client has cancelled them, others may wait."""
    host.once()
    support.make(host.root)
    refused: list[str] = []

    async def wait(client: Client, ended: anyio.Event) -> None:
        refused.append(refusal(await client.call_tool("agentic_watch", {"workspaces": ["acme/none"]})))
        ended.set()

    async def conversation(client: Client) -> None:
        for _ in range(2):
            ended = anyio.Event()
            async with anyio.create_task_group() as tasks:
                for _ in range(17):
                    tasks.start_soon(wait, client, ended)
                await ended.wait()
                tasks.cancel_scope.cancel()
            while (await client.call_tool("agentic_watch", {"workspaces": ["org/repo/task"]})).is_error:
                await anyio.sleep(0.1)

    talk(host, conversation)
    assert refused == ["16 calls of agentic_watch wait already; try again when one of them has ended"] * 2


@pytest.mark.parametrize("ends", ["stdin", "killed"])
def test_a_client_that_goes_away_while_it_waits_leaves_nothing(host: Host, ends: str) -> None:
    """The end of stdin ends the wait and the process in silence, long before its time is over; so does a kill."""
    host.once()
    waiting = _call(2, "agentic_watch", {"workspaces": ["acme/none"], "poll_interval": 1})
    waiting["params"]["_meta"] = {"progressToken": 1}
    with started([*host.arguments(), "mcp"], host) as process:
        assert process.stdin is not None and process.stdout is not None
        _write(process, json.dumps(INITIALIZE).encode() + b"\n")
        process.stdout.readline()
        _write(process, json.dumps(waiting).encode() + b"\n")
        assert json.loads(process.stdout.readline())["method"] == "notifications/progress"
        if ends == "stdin":
            process.stdin.close()
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == (0 if ends == "stdin" else -signal.SIGTERM)
    assert (host.base / "stderr").read_text() == ""


def test_durations_are_written_as_go_writes_them() -> None:
    """time.Duration.String() of whole seconds."""
    assert [go_duration(seconds) for seconds in (0, 59, 60, 3_605)] == ["0s", "59s", "1m0s", "1h0m5s"]


def test_the_resource_lists_the_workspaces(host: Host) -> None:
    """core-agent's array for `status://agents`; another name is a protocol error that says which one there is."""
    support.make(host.root, "acme/api/one", status="running", agent="codex:o3", repo="api")
    support.make(host.root, "acme/web/two", agent="claude", repo="web")
    read: list[Any] = []

    async def conversation(client: Client) -> None:
        (listed,) = (await client.list_resources()).resources
        assert (listed.uri, listed.mime_type) == ("status://agents", "application/json")
        (content,) = (await client.read_resource(listed.uri)).contents
        read.extend(json.loads(content.text))
        with pytest.raises(MCPError, match="no resource 'status://agent'; there is status://agents"):
            await client.read_resource("status://agent")

    said = talk(host, conversation)
    assert sorted(read, key=lambda entry: str(entry["name"])) == [
        {"name": "acme/api/one", "status": "running", "repo": "api", "agent": "codex:o3"},
        {"name": "acme/web/two", "status": "completed", "repo": "web", "agent": "claude"},
    ]
    assert said == ""
