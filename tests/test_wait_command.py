"""`wait`: until the newest run of each workspace is finished and recorded, whoever records it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from daemon_support import Service
from support import Host, Workspace, held_lock, make, query, run, start, wait_for

from agentic_watch.config import Config, Root
from agentic_watch.waiting.awaited import Awaited, wanted
from agentic_watch.waiting.recorded_wait import Until, WaitEnd, wait_for_recorded

LATER = "2026-04-14T12:00:00Z"


@pytest.fixture
def quick(host: Host) -> Iterator[Config]:
    """A configuration that does not settle, for waits in this process."""
    yield Config(roots=(Root(str(host.root)),), history=str(host.history), settle_seconds=0.0)


def wait_here(config: Config, *names: str, timeout: float | None = 20.0, any_one: bool = False) -> WaitEnd:
    """Wait in this process."""
    return wait_for_recorded(config, [wanted(config.roots, name) for name in names], Until(timeout, any_one))


def waiting(host: Host, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `wait` to its end."""
    return run([*host.arguments(), "wait", *arguments], host.base)


def documents(result: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def finish(workspace: Workspace, status: str = "completed", **fields: Any) -> None:
    """Replace the status as a dispatcher does."""
    temporary = workspace.meta / "status.tmp"
    document = {"status": status, "updated_at": LATER, "started_at": "2026-04-14T10:00:00Z", **fields}
    temporary.write_text(json.dumps(document), "utf-8")
    temporary.rename(workspace.meta / "status.json")


def in_thread(config: Config, *names: str) -> tuple[threading.Thread, list[WaitEnd], list[Awaited]]:
    """A wait that goes on beside the test: its thread, its end when there is one, what was heard so far."""
    ends: list[WaitEnd] = []
    heard: list[Awaited] = []
    asked = [wanted(config.roots, name) for name in names]
    thread = threading.Thread(
        target=lambda: ends.append(wait_for_recorded(config, asked, Until(60.0), heard.append)), daemon=True
    )
    thread.start()
    return thread, ends, heard


def test_recorded_already_is_an_answer_at_once(host: Host) -> None:
    """What passed and is recorded ends with 0 and one line each."""
    make(host.root, "acme/api/one")
    make(host.root, "acme/api/two", status="merged")
    host.once()
    result = waiting(host, "acme/api/one", str(host.root / "acme/api/two"))
    assert result.returncode == 0, result.stderr
    assert [line.split(";")[0] for line in result.stdout.splitlines()] == [
        "acme/api/one: completed",
        "acme/api/two: merged",
    ]


@pytest.mark.parametrize("status", ["failed", "rejected", "blocked"])
def test_one_that_has_not_passed_ends_with_3(host: Host, status: str) -> None:
    """Failed or waiting for an answer is 3, and the line says why."""
    make(host.root, "acme/api/one", status=status, question="Which menu\nstays?")
    make(host.root, "acme/api/two")
    host.once()
    result = waiting(host, "acme/api/one", "acme/api/two")
    assert result.returncode == 3
    assert f"acme/api/one: {status}: Which menu; committed at " in result.stdout


def test_the_time_is_over(host: Host) -> None:
    """124, and each that is missing is named with why; JSON has a line for each, too."""
    make(host.root, "acme/api/done")
    make(host.root, "acme/api/busy", status="running")
    make(host.root, "acme/api/broken").write_status()
    (host.root / "acme/api/broken/.meta/status.json").write_text("{", "utf-8")
    host.once()
    names = ("acme/api/done", "acme/api/busy", "acme/api/broken", "acme/api/never")
    result = waiting(host, *names, "--timeout", "0.3s", "--json")
    assert result.returncode == 124
    lines = {line["workspace"]: line for line in documents(result)}
    assert {name: line["recorded"] for name, line in lines.items()} == dict.fromkeys(names, False) | {names[0]: True}
    assert lines["acme/api/busy"]["error"] == "is running"
    assert lines["acme/api/never"]["error"] == "is not there yet"
    assert "status.json" in lines["acme/api/broken"]["error"]
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == list(names[1:])


def test_commits_by_itself_without_a_daemon(host: Host, quick: Config) -> None:
    """One that finishes while it is waited for gets line, row and marker."""
    workspace = make(host.root, "acme/api/one", status="running")
    thread, ends, _ = in_thread(quick, "acme/api/one")
    finish(workspace)
    thread.join(30)
    (one,) = ends[0].workspaces
    assert (one.recorded, one.outcome, one.status, one.updated_at) == (True, "passed", "completed", LATER)
    assert workspace.line()["committed_at"] == workspace.mark()["committed_at"] == one.committed_at
    assert host.rows()["acme/api/one"]["commit_id"] == one.commit_id


def test_one_that_is_not_there_yet(host: Host, quick: Config) -> None:
    """A workspace, and all directories above it, may come later."""
    thread, ends, _ = in_thread(quick, "acme/api/one", "one")
    make(host.root, "acme/api/one")
    make(host.root, "one", status="failed")
    thread.join(30)
    assert [(one.workspace, one.outcome) for one in ends[0].workspaces] == [
        ("acme/api/one", "passed"),
        ("one", "failed"),
    ]


def test_the_daemon_records_and_wait_hears_of_it(host: Host) -> None:
    """Beside a daemon nothing is committed by wait; its end follows the daemon's commit."""
    workspace = make(host.root, "acme/api/one", status="running")
    with Service(host) as service:
        process = start([*host.arguments(), "wait", "acme/api/one", "acme/api/later", "--json"], host.base)
        finish(workspace)
        later = make(host.root, "acme/api/later")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        service.wait_committed(workspace, later)
        assert len(service.lines(": committed (")) == 2
    assert {json.loads(line)["workspace"] for line in out.splitlines()} == {"acme/api/one", "acme/api/later"}
    assert err == ""
