"""`wait`: until the newest run of each workspace is finished and recorded, whoever records it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from daemon_support import Service
from support import Host, Workspace, held_lock, make, run, start, wait_for

from agentic_watch.config import Config, Root
from agentic_watch.waiting.wait_loop import Until, WaitEnd, wait_for_recorded
from agentic_watch.waiting.wait_result import Awaited, wanted

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
        target=lambda: ends.append(wait_for_recorded(config, asked, Until(300.0), heard.append)), daemon=True
    )
    thread.start()
    return thread, ends, heard


def recorded(host: Host) -> str:
    """A workspace whose end a wait hears of once it has looked at all of its own."""
    made = make(host.root, "acme/api/recorded")
    assert host.once().counts["committed"] == 1
    return made.name


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
        service.wait(lambda: len(service.lines(": committed (")) == 2)  # said after the marker is there
    assert {json.loads(line)["workspace"] for line in out.splitlines()} == {"acme/api/one", "acme/api/later"}
    assert err == ""


def test_a_daemon_that_ends_meanwhile(host: Host) -> None:
    """When the daemon ends, wait does what it would have done."""
    workspace = make(host.root, "acme/api/one", status="running")
    with Service(host) as service:
        process = start([*host.arguments(), "wait", "acme/api/one"], host.base)
        assert service.stop() == 0
        finish(workspace)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert host.rows()["acme/api/one"]["committed_at"] == workspace.mark()["committed_at"]


def test_any_ends_with_the_first(host: Host, quick: Config) -> None:
    """One is enough, and its outcome decides; the others are told as they are."""
    make(host.root, "acme/api/slow", status="running")
    make(host.root, "acme/api/fast", status="failed")
    host.once()
    end = wait_here(quick, "acme/api/slow", "acme/api/fast", any_one=True)
    assert [(one.workspace, one.recorded, one.outcome) for one in end.workspaces] == [
        ("acme/api/slow", False, None),
        ("acme/api/fast", True, "failed"),
    ]
    result = waiting(host, "--any", "acme/api/slow", "acme/api/fast")
    assert (result.returncode, len(result.stdout.splitlines())) == (3, 1)


def test_recorded_and_removed_is_an_answer(host: Host, quick: Config) -> None:
    """A workspace that was recorded and then removed is done, also when it goes away while it is waited for."""
    for name in ("before", "during"):
        make(host.root, f"acme/api/{name}", status="failed", question="why")
    host.once()
    shutil.rmtree(host.root / "acme/api/before")
    finish(workspace := Workspace(host.root, "acme/api/during"), "running", updated_at="2026-04-14T09:00:00Z")
    thread, ends, _ = in_thread(quick, "acme/api/before", "acme/api/during")
    finish(workspace, "completed")
    thread.join(30)
    shutil.rmtree(workspace.path)
    assert [one.outcome for one in ends[0].workspaces] == ["failed", "passed"]
    assert wait_here(quick, "acme/api/during").workspaces[0].outcome == "passed"


def test_removed_before_it_was_recorded(host: Host, quick: Config) -> None:
    """One that is removed while it runs will never be recorded: that is said, and is no success."""
    done = recorded(host)
    make(host.root, "acme/api/one", status="running")
    thread, ends, heard = in_thread(quick, "acme/api/one", done)
    wait_for(lambda: bool(heard))  # both were looked at
    shutil.rmtree(host.root / "acme/api/one")
    thread.join(30)
    one, _ = ends[0].workspaces
    assert heard[1:] == [one]
    assert (one.recorded, one.is_lost, one.error) == (False, True, "was removed before it was recorded")
    assert not one.has_passed


def test_moved_while_it_runs(host: Host, quick: Config) -> None:
    """A directory that gets another name is waited for under that one."""
    done = recorded(host)
    workspace = make(host.root, "acme/api/one", status="running", started_at="2026-04-14T10:00:00Z")
    thread, ends, heard = in_thread(quick, "acme/api/one", done)
    wait_for(lambda: bool(heard))  # both were looked at
    (host.root / "done/api").mkdir(parents=True)
    workspace.path.rename(host.root / "done/api/two")
    finish(Workspace(host.root, "done/api/two"), "merged")
    thread.join(30)
    one, _ = ends[0].workspaces
    assert (one.workspace, one.moved_to, one.status) == ("acme/api/one", "done/api/two", "merged")
    assert list(host.rows()) == [done, "done/api/two"]


def test_moved_after_it_was_recorded(host: Host, quick: Config) -> None:
    """Both names of a dispatch that was recorded under one and moved to another lead to it."""
    workspace = make(host.root, "acme/api/one")
    host.once()
    (host.root / "done/api").mkdir(parents=True)
    workspace.path.rename(host.root / "done/api/two")
    host.once()
    ends = wait_here(quick, "acme/api/one", "done/api/two").workspaces
    assert [(one.workspace, one.outcome, one.moved_to) for one in ends] == [
        ("acme/api/one", "passed", "done/api/two"),
        ("done/api/two", "passed", None),
    ]
    assert len(host.rows()) == 1


def test_a_run_whose_process_is_gone(host: Host, quick: Config) -> None:
    """A run that was recorded since its process is gone is over, though its status goes on saying that it runs."""
    workspace = make(host.root, status="failed", updated_at="2026-04-14T10:00:00.000000004Z", started_at=LATER, runs=2)
    host.once()
    workspace.write_status(status="running", updated_at="2026-04-14T10:00:00.000000005Z", started_at=LATER, runs=2)
    assert wait_here(quick, workspace.name).workspaces[0].status == "failed"
    workspace.write_status(status="running", updated_at="2026-04-14T10:00:00.000000007Z", started_at=LATER, runs=2)
    assert wait_here(quick, workspace.name, timeout=0.0).timed_out


def test_pruned_is_done(host: Host, quick: Config) -> None:
    """A finished workspace whose row was pruned is done: nobody will record it again."""
    make(host.root, status="failed")
    host.once()
    assert run([*host.arguments(), "prune", "--older-than", "1d", "--archive", "old.jsonl"], host.base).returncode == 0
    assert not host.rows()
    (one,) = wait_here(quick, "org/repo/task").workspaces
    assert (one.recorded, one.outcome) == (True, "failed")


def test_the_row_alone_is_not_the_end(host: Host, quick: Config) -> None:
    """While somebody is at work on the workspace its marker may be missing: what waits removes nothing too early."""
    workspace = make(host.root)
    host.once()
    with held_lock(workspace.meta):
        assert wait_here(quick, workspace.name, timeout=0.0).timed_out
    assert wait_here(quick, workspace.name, timeout=0.0).workspaces[0].recorded


def test_what_cannot_be_committed(host: Host, quick: Config) -> None:
    """Without a daemon nobody else will: after some tries it is said, with the cause."""
    workspace = make(host.root, status="completed")
    workspace.journal.mkdir()
    (one,) = wait_here(quick, workspace.name).workspaces
    assert one.is_lost
    assert not one.is_fault_of_host
    assert one.error == "cannot be committed: .meta/journal.jsonl: is a directory"


def test_polled_where_there_are_no_events(host: Host) -> None:
    """A root that is to be polled is looked at every second."""
    config = Config(roots=(Root(str(host.root), watch="poll"),), history=str(host.history), settle_seconds=0.0)
    workspace = make(host.root, status="running")
    thread, ends, _ = in_thread(config, workspace.name)
    finish(workspace)
    thread.join(30)
    assert ends[0].workspaces[0].recorded


def test_a_root_that_comes_later(host: Host, quick: Config) -> None:
    """The root itself need not be there yet."""
    host.root.rmdir()
    thread, ends, _ = in_thread(quick, "acme/api/one")
    make(host.root, "acme/api/one")
    thread.join(30)
    assert ends[0].workspaces[0].recorded


def test_a_history_that_is_replaced(host: Host, quick: Config) -> None:
    """A history that is removed is made again, and a row in it is an end."""
    make(host.root, "acme/api/other")
    host.once()
    workspace = make(host.root, "acme/api/one", status="running")
    thread, ends, _ = in_thread(quick, workspace.name)
    wait_for(lambda: watched(os.getpid()) >= 4)
    host.forget_history()
    finish(workspace)
    host.once()
    thread.join(30)
    assert ends[0].workspaces[0].recorded


def test_a_thousand_at_once(host: Host, quick: Config) -> None:
    """Each of a thousand has its end, and is recorded once."""
    names = [f"acme/api/task-{number}" for number in range(1000)]
    made = [make(host.root, name, status="running") for name in names]
    thread, ends, heard = in_thread(quick, *names)
    wait_for(lambda: watched(os.getpid()) >= 2000, 60.0)
    for workspace in made:
        finish(workspace)
    thread.join(300)
    assert {one.workspace for one in heard} == set(names)
    assert all(one.recorded for one in ends[0].workspaces)
    assert len(host.rows()) == len(names)
    assert all(len(workspace.lines()) == 1 for workspace in made[::100])


def test_cancelled_by_another_thread(host: Host, quick: Config) -> None:
    """Whoever asked for it from elsewhere can end it."""
    make(host.root, "acme/api/one", status="running")
    cancelled = threading.Event()
    ends: list[WaitEnd] = []
    asked = [wanted(quick.roots, "acme/api/one")]
    thread = threading.Thread(target=lambda: ends.append(wait_for_recorded(quick, asked, Until(cancelled=cancelled))))
    thread.start()
    cancelled.set()
    thread.join(30)
    assert (ends[0].cancelled, ends[0].timed_out, ends[0].workspaces[0].error) == (True, False, "is running")


def test_what_will_be_no_end_is_said(host: Host) -> None:
    """A status that is neither finished nor known, and a history that cannot be read, are said while it waits."""
    make(host.root, "acme/api/one", status="success\x1b")
    make(host.root, "acme/api/two")
    host.once()
    with contextlib.closing(sqlite3.connect(host.history)) as connection:
        connection.execute("PRAGMA user_version = 2")
    result = waiting(host, "acme/api/one", "acme/api/two", "--timeout", "4s")
    assert result.returncode == 124
    assert "acme/api/one: its status 'success\\x1b' is neither finished nor known, so the wait goes on" in result.stderr
    assert "has schema version 2; the daemon or --once upgrades it to " in result.stderr
    assert "what is recorded is unknown until it can be read" in result.stderr


def test_interrupted(host: Host) -> None:
    """Ctrl-C ends it with 130 and one line."""
    make(host.root, "acme/api/done")
    make(host.root, "acme/api/one", status="running")
    host.once()
    process = start([*host.arguments(), "wait", "acme/api/done", "acme/api/one"], host.base)
    assert process.stdout is not None
    assert process.stdout.readline().startswith("acme/api/done: completed")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "Error: interrupted; 1 of 2 workspaces was recorded\n")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "Missing argument"),
        (["/nowhere/at/all"], 1, "not found below any root"),
        (["acme/api/.git/x"], 1, "not found below any root"),
        (["a\x1bb"], 1, "the name holds control characters"),
        (["acme/api/one", "--timeout", "soon"], 2, "is not a span such as 90s, 30m, 2h or 1d"),
    ],
)
def test_what_can_be_no_workspace(host: Host, arguments: Sequence[str], code: int, text: str) -> None:
    """What will never be one is refused, and not waited for."""
    result = waiting(host, *arguments)
    assert result.returncode == code
    assert text in result.stderr


def watched(pid: int) -> int:
    """How many directories a process watches."""
    found = 0
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            found += path.read_text().count("inotify wd:")
        except FileNotFoundError:  # closed since it was listed
            continue
    return found
