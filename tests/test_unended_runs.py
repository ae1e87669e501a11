"""The end of a run that nobody wrote is recorded once, as failed, and gives way to any final status."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from daemon_support import Service
from support import Host, Workspace, command, environment, make, wait_for
from unended_runs import REMOVED, Unended, ago, ended, kill, unended

from agentic_watch.commit.batches import Insertion
from agentic_watch.host import processes
from agentic_watch.inventory.open_runs import OpenRuns
from agentic_watch.workspace import instant, signatures

NAME = "org/repo/task"
NO_PID = 2**22 + 1
"""More than the kernel gives (proc_sys_kernel(5), pid_max)."""


@pytest.fixture
def world(host: Host) -> Iterator[Unended]:
    """A host that records at once what it has seen."""
    with unended(host) as made:
        yield made


def killed(world: Unended, **fields: object) -> tuple[Workspace, int]:
    """A run that was seen alive, and its process killed."""
    workspace = world.start(**fields)
    # What changed a moment ago is read again by the next pass, whatever it looks like.
    wait_for(lambda: signatures.is_settled((workspace.meta / "status.json").stat(), time.time_ns()))
    world.once()
    assert world.recorded() == []
    kill(world.agents[-1])
    return workspace, world.agents[-1].pid


def status_time(workspace: Workspace) -> int:
    return instant.parse(status_text(workspace, "updated_at")).ns


# --- what is recorded


def test_a_killed_run_has_a_line_and_a_row_and_no_marker(world: Unended) -> None:
    """Failed, a nanosecond before its status, of unknown duration; the status file is as it was."""
    workspace, pid = killed(world, agent="claude:opus", branch="b", issue=7, process_id="x", pr_url="https://h/1")
    before = (workspace.meta / "status.json").read_bytes()
    summary = world.once()
    assert (summary.scanned, summary.committed, summary.unfinished, summary.failed) == (1, 1, 1, 0)
    (row,) = world.host.query("SELECT * FROM dispatch_history")
    line = workspace.line()
    assert (row["status"], row["question"], row["duration_ms"]) == ("failed", ended(pid), None)
    assert instant.parse(row["updated_at"]).ns == status_time(workspace) - 1
    for name in ("agent", "branch", "issue", "process_id", "pr_url", "task", "runs", "started_at", "updated_at"):
        assert row[name] == line[name], name
    assert (row["agent"], row["issue"], line["question"]) == ("claude:opus", 7, ended(pid))
    assert (workspace.meta / "status.json").read_bytes() == before
    assert sorted(path.name for path in workspace.meta.iterdir()) == ["journal.jsonl", "status.json"]


def test_it_is_recorded_once(world: Unended) -> None:
    """Later passes, and those that know nothing any more, add nothing."""
    workspace, pid = killed(world)
    for _ in range(3):
        world.once()
    world.record = "always"
    world.once()
    with_sql(world, "DELETE FROM open_runs", "UPDATE workspaces SET signature = x''")
    for _ in range(3):
        world.once()
    assert world.recorded() == [(NAME, "failed", ended(pid))]
    assert len(workspace.lines()) == 1


def with_sql(world: Unended, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(world.host.history)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


@pytest.mark.parametrize("is_same_time", [False, True])
def test_a_final_status_that_comes_later_is_the_newest(world: Unended, is_same_time: bool) -> None:
    """Also one that kept `updated_at`: it is another commit, with a line and a marker of its own."""
    workspace, _ = killed(world)
    world.once()
    document = {"started_at": ago(60), "updated_at": ago(0)}
    if is_same_time:
        document["updated_at"] = instant.at(status_time(workspace)).text
    document["started_at"] = world.host.rows()[NAME]["started_at"]
    workspace.write_status(status="completed", runs=1, task=NAME, org="org", repo="repo", **document)
    assert world.once().committed == 1
    assert [row[1] for row in world.recorded()] == ["failed", "completed"]
    newest = world.host.query("SELECT status FROM dispatches")
    assert [row["status"] for row in newest] == ["completed"]
    assert [line["status"] for line in workspace.lines()] == ["failed", "completed"]
    assert workspace.mark()["updated_at"] == document["updated_at"]
    assert world.once().skipped == 1
    assert world.shown("show", NAME)["on_disk"]["committed"] is True


def test_without_a_time_the_end_has_none_either(world: Unended) -> None:
    """Go's zero time stays as it is."""
    workspace, pid = killed(world, updated_at="0001-01-01T00:00:00Z")
    world.once()
    assert workspace.line()["updated_at"] == "0001-01-01T00:00:00Z"
    assert world.recorded() == [(NAME, "failed", ended(pid))]


def test_a_run_in_a_workspace_without_meta_gets_one(world: Unended) -> None:
    """Its line has to stand somewhere, as that of a finished dispatch."""
    workspace = make(world.host.root, layout="root", status="running", pid=world.agent().pid, updated_at=ago(1))
    world.once()
    kill(world.agents[0])
    world.once()
    assert workspace.line()["status"] == "failed"


def test_a_queued_run_that_names_a_process_is_one(world: Unended) -> None:
    """The program that was to run it is gone."""
    _, pid = killed(world, status="queued")
    world.once()
    assert world.recorded() == [(NAME, "failed", ended(pid))]


def test_nothing_is_recorded_before_its_time(world: Unended) -> None:
    """`after_seconds` are counted from when the process was known to live."""
    world.after_seconds = 3600.0
    killed(world, updated_at=ago(86_400))
    for _ in range(2):
        world.once()
    assert world.recorded() == []
    with_sql(world, "UPDATE open_runs SET since = since - 3601")
    world.once()
    assert len(world.recorded()) == 1


def test_a_clock_that_is_set_back_puts_no_end_off(world: Unended) -> None:
    """What was noticed at a later time than now is noticed anew."""
    killed(world)
    with_sql(world, "UPDATE open_runs SET gone = 1, since = since + 86400")
    world.once()
    assert len(world.recorded()) == 1


@pytest.mark.parametrize("record", ["seen", "always", "never"])
def test_what_was_never_seen_is_recorded_when_asked_for(world: Unended, record: str) -> None:
    """A process that was gone before the first look: `always` records it, with the first pass."""
    world.record = record
    process = world.agent()
    kill(process)
    world.start(pid=process.pid)
    world.once()
    assert [row[2] for row in world.recorded()] == ([ended(process.pid)] if record == "always" else [])


def test_never_keeps_nothing_and_seen_begins_anew(world: Unended) -> None:
    """Switched on later, the runs that go on are known from the next pass on."""
    world.record = "never"
    world.start()
    world.once()
    assert world.host.query("SELECT count(*) AS n FROM open_runs")[0]["n"] == 0
    world.record = "seen"
    world.once()
    kill(world.agents[0])
    world.once()
    assert world.recorded() == [(NAME, "failed", ended(world.agents[0].pid))]


@pytest.mark.parametrize("pid", [-1, 0, 1, 2**31, 2**62, NO_PID])
def test_a_pid_that_no_agent_has_does_no_harm(world: Unended, pid: int) -> None:
    """Nothing is recorded of what was not seen to live and end."""
    world.start(pid=pid)
    for _ in range(2):
        world.once()
    assert world.recorded() == []


def test_a_zombie_is_gone(world: Unended) -> None:
    """It has ended, though nobody has asked how."""
    world.start()
    world.once()
    world.agents[0].kill()
    os.waitid(os.P_PID, world.agents[0].pid, os.WEXITED | os.WNOWAIT)
    world.once()
    assert world.recorded() == [(NAME, "failed", ended(world.agents[0].pid))]


def test_a_number_that_another_process_has_now_is_told_by_its_start(world: Unended) -> None:
    """The run's process is gone, since the one with its number began at another time."""
    world.start()
    world.once()
    with_sql(world, "UPDATE open_runs SET began = began - 100")
    world.once()
    assert world.recorded() == [(NAME, "failed", ended(world.agents[0].pid))]


def test_a_process_that_began_after_its_status_is_not_taken_for_it(
    world: Unended, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It only has the number by now; when it ends nothing is known of the run."""
    world.start()
    monkeypatch.setattr(processes, "wall_time", lambda _: time.time() + 60)
    world.once()
    kill(world.agents[0])
    world.once()
    assert world.recorded() == []


def test_a_thread_of_the_kernel_is_no_agent(world: Unended) -> None:
    """Most low numbers are theirs, which are those of processes in containers, too."""
    if not Path("/proc/2/comm").exists() or Path("/proc/2/comm").read_text() != "kthreadd\n":
        pytest.skip("no thread of the kernel is seen from here")
    world.start(pid=2)
    world.once()
    assert world.host.query("SELECT began FROM open_runs")[0]["began"] is None


# --- boots


def test_a_boot_ends_what_was_read_before_it(world: Unended) -> None:
    """Whatever process has the number now, and though the run's own was never seen."""
    world.boot = "first"
    workspace = world.start()
    world.start("org/repo/unseen", pid=NO_PID, updated_at=ago(0))
    world.once()
    world.once()
    assert world.recorded() == []
    world.boot = "second"
    world.once()
    assert sorted(world.recorded()) == [
        (NAME, "failed", ended(world.agents[0].pid)),
        ("org/repo/unseen", "failed", ended(NO_PID)),
    ]
    assert workspace.line()["status"] == "failed"


def test_a_boot_since_its_last_word_ends_a_run(world: Unended) -> None:
    """One that was never read before: its status is older than the boot, and no process has its number. A copy that
    came after the boot may be of a run on another host."""
    old = world.start(pid=NO_PID, updated_at="2001-01-01T00:00:00Z")
    alive = world.start("org/repo/alive", updated_at="2001-01-01T00:00:00Z")
    world.booted_at = time.time() + 1
    wait_for(lambda: time.time() > world.booted_at + 0.1)
    world.start("org/repo/copied", pid=NO_PID, updated_at="2001-01-01T00:00:00Z")
    for _ in range(2):
        world.once()
    assert world.recorded() == [(NAME, "failed", ended(NO_PID))]
    assert old.line()["question"] == ended(NO_PID)
    assert not alive.journal.exists()


def test_a_status_that_is_written_after_the_boot_goes_on(world: Unended) -> None:
    """The same run under the same number, as in a container that was started again: it was not seen to end."""
    world.boot = "first"
    workspace = world.start(pid=NO_PID, updated_at=ago(0))
    world.once()
    world.boot = "second"
    workspace.write_status(status="running", pid=NO_PID, runs=1, updated_at=ago(0))
    for _ in range(2):
        world.once()
    assert world.recorded() == []


# --- workspaces that go away


def test_a_removed_run_has_a_row(world: Unended) -> None:
    """It was running when its workspace went away: a row, once, with all that its status said."""
    workspace = world.start(agent="codex", branch="b", issue=3)
    world.once()
    shutil.rmtree(workspace.path)
    for _ in range(3):
        world.once()
    assert world.recorded() == [(NAME, "failed", REMOVED)]
    row = world.host.rows()[NAME]
    assert (row["agent"], row["branch"], row["issue"], row["duration_ms"]) == ("codex", "b", 3, None)
    assert not workspace.path.exists()
    assert world.host.query("SELECT count(*) AS n FROM open_runs")[0]["n"] == 0


def test_one_whose_end_was_recorded_is_not_recorded_again_when_it_is_removed(world: Unended) -> None:
    """It has ended once."""
    workspace, pid = killed(world)
    world.once()
    shutil.rmtree(workspace.path)
    for _ in range(2):
        world.once()
    assert world.recorded() == [(NAME, "failed", ended(pid))]


def test_a_status_file_that_goes_away_alone_is_the_end_of_its_run(world: Unended) -> None:
    """The workspace stands: there is a line, too, and no marker."""
    workspace, _ = killed(world)
    (workspace.meta / "status.json").unlink()
    for _ in range(3):
        world.once()
    assert world.recorded() == [(NAME, "failed", REMOVED)]
    assert workspace.line()["question"] == REMOVED
    assert not workspace.marker.exists()


def test_a_removed_run_that_was_not_seen_is_not_recorded(world: Unended) -> None:
    """Nobody knows whether it ran."""
    workspace = world.start(pid=NO_PID)
    world.once()
    shutil.rmtree(workspace.path)
    for _ in range(2):
        world.once()
    assert world.recorded() == []


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_moved_run_is_not_removed(world: Unended, is_alive: bool) -> None:
    """It goes on under its new name, and its end is recorded there, once."""
    workspace = world.start()
    world.once()
    if not is_alive:
        kill(world.agents[0])
    workspace.path.rename(world.host.root / "org/repo/moved")
    world.once()
    if is_alive:
        assert world.recorded() == []
        kill(world.agents[0])
    for _ in range(3):
        world.once()
    assert world.recorded() == [("org/repo/moved", "failed", ended(world.agents[0].pid))]


def test_a_moved_end_is_not_recorded_again(world: Unended) -> None:
    """Its line tells what it was; the row says where it is now."""
    workspace, pid = killed(world)
    world.once()
    workspace.path.rename(world.host.root / "org/repo/moved")
    world.record = "always"
    for _ in range(3):
        world.once()
    assert world.recorded() == [(NAME, "failed", ended(pid))]
    assert world.host.rows()[NAME]["moved_to"] == "org/repo/moved"


def test_a_run_that_was_moved_and_finished_is_not_removed(world: Unended) -> None:
    """It was never seen running under its new name."""
    workspace = world.start()
    world.once()
    started = status_text(workspace, "started_at")
    moved = Workspace(world.host.root, "org/repo/moved")
    workspace.path.rename(moved.path)
    complete(moved, started)
    for _ in range(3):
        world.once()
    assert [row[:2] for row in world.recorded()] == [("org/repo/moved", "completed")]


def complete(workspace: Workspace, started: str) -> None:
    """The final status of a run."""
    fields = {"org": "org", "repo": "repo", "runs": 1, "started_at": started, "task": NAME}
    workspace.write_status(status="completed", updated_at=ago(0), **fields)


@pytest.mark.parametrize("is_removed", [True, False])
def test_a_copy_of_a_run_is_not_another_one(world: Unended, is_removed: bool) -> None:
    """Somebody backs up a workspace that runs: it is the same process, and has ended when that has said so."""
    workspace = world.start()
    shutil.copytree(workspace.path, copy := world.host.root / "org/repo/copy")
    world.once()
    if is_removed:
        shutil.rmtree(copy)
    world.once()
    assert world.recorded() == []
    complete(workspace, status_text(workspace, "started_at"))
    kill(world.agents[0])
    for _ in range(3):
        world.once()
    assert [row[:2] for row in world.recorded()] == [(NAME, "completed")]


@pytest.mark.parametrize("is_completed", [True, False])
def test_a_run_that_was_moved_by_a_copy_is_not_removed(world: Unended, is_completed: bool) -> None:
    """To another file system: it has one end, under its new name."""
    workspace = world.start()
    world.once()
    moved = Workspace(world.host.root, "org/repo/moved")
    shutil.copytree(workspace.path, moved.path)
    world.once()
    shutil.rmtree(workspace.path)
    world.once()
    if is_completed:
        complete(moved, status_text(moved, "started_at"))
    kill(world.agents[0])
    for _ in range(3):
        world.once()
    assert [row[:2] for row in world.recorded()] == [("org/repo/moved", "completed" if is_completed else "failed")]


def status_text(workspace: Workspace, key: str) -> str:
    return str(json.loads((workspace.meta / "status.json").read_bytes())[key])


def test_a_root_that_is_away_has_removed_nothing(world: Unended) -> None:
    """It may come back with all that runs in it."""
    world.start()
    world.once()
    world.host.root.rename(world.host.base / "away")
    for _ in range(2):
        world.once()
    assert world.recorded() == []
    (world.host.base / "away").rename(world.host.root)
    world.once()
    assert world.recorded() == []


def test_a_finish_that_no_index_knows_yet_is_an_end(world: Unended) -> None:
    """Killed between the commit and the index: when the workspace is removed, its run has had its end."""
    workspace = world.start()
    world.once()
    started = status_text(workspace, "started_at")
    kept = world.host.query("SELECT * FROM open_runs")[0]
    fields = {"org": "org", "repo": "repo", "runs": 1, "started_at": started}
    workspace.write_status(status="completed", updated_at=ago(0), task=NAME, **fields)
    world.once()
    with_sql(world, f"INSERT INTO open_runs VALUES ({', '.join(sql_text(value) for value in kept)})")
    shutil.rmtree(workspace.path)
    for _ in range(2):
        world.once()
    assert [row[1] for row in world.recorded()] == ["completed"]


def sql_text(value: object) -> str:
    return (
        "NULL" if value is None else "'" + str(value).replace("'", "''") + "'" if isinstance(value, str) else str(value)
    )


# --- other namespaces


def in_namespace(script: str) -> list[str]:
    return ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", script]


def needs_namespaces() -> None:
    tried = subprocess.run(in_namespace("true"), capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"the kernel gives no pid namespace here: {tried.stderr.strip()}")


def unused_pid() -> int:
    """A number that no process of this host has, nor gets soon: they are given in their order."""
    newest, most = (int(Path(f"/proc/sys/kernel/{name}").read_text()) for name in ("ns_last_pid", "pid_max"))
    ahead = ((newest + most // 2 + number) % most for number in range(most))
    return next(number for number in ahead if number > 1_000 and not Path(f"/proc/{number}").exists())


def test_a_container_is_never_taken_for_dead(world: Unended) -> None:
    """Its processes have numbers of their own: that there is none here of that number says nothing, while it runs and
    when it has ended."""
    needs_namespaces()
    number = unused_pid()
    script = f"echo {number - 1} > /proc/sys/kernel/ns_last_pid; sleep 300 & echo $!; wait"
    container = subprocess.Popen(in_namespace(script), stdout=subprocess.PIPE, text=True)
    try:
        assert container.stdout is not None
        assert int(container.stdout.readline()) == number
        world.start(pid=number, updated_at=ago(0))
        for _ in range(2):
            world.once()
        assert world.recorded() == []
    finally:
        container.kill()
        container.communicate()
    world.once()
    assert world.recorded() == []
    world.record = "always"
    world.once()
    assert world.recorded() == [(NAME, "failed", ended(number))]


def test_who_looks_from_a_container_does_not_take_the_hosts_processes_for_dead(world: Unended) -> None:
    """`--once` with the same history, from where none of them is seen."""
    needs_namespaces()
    world.start()
    world.once()
    words = " ".join(map(str, command(["--config", world.file(), "--once"])))
    done = subprocess.run(in_namespace(words), env=environment(world.host.base), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert world.recorded() == []
    kill(world.agents[0])
    world.once()
    assert len(world.recorded()) == 1


# --- what a stop leaves


def test_a_lost_history_gets_the_same_row_from_the_journal(world: Unended) -> None:
    """All but its number is as it was."""
    killed(world)
    world.once()
    (before,) = map(dict, world.host.query("SELECT * FROM dispatch_history"))
    world.host.forget_history()
    world.once()
    (after,) = map(dict, world.host.query("SELECT * FROM dispatch_history"))
    assert after == before


def test_a_line_without_its_row_gets_it(world: Unended) -> None:
    """Killed between the two: one line and one row, and the next pass has nothing to do."""
    workspace, pid = killed(world)
    world.once()
    line = workspace.journal.read_bytes()
    with_sql(world, "DELETE FROM dispatch_history", "UPDATE open_runs SET recorded = 0")
    for _ in range(2):
        world.once()
    assert world.recorded() == [(NAME, "failed", ended(pid))]
    assert workspace.journal.read_bytes() == line


@pytest.mark.parametrize("point", ["begin", "finish", "note"])
def test_killed_between_its_steps_it_is_completed_once(world: Unended, point: str) -> None:
    """Before its row is made, before that is committed, before anything remembers it."""
    workspace, pid = killed(world)
    if not (child := os.fork()):
        where = OpenRuns if point == "note" else Insertion
        before = getattr(where, point)

        def end(self: Any, *given: Any) -> Any:
            other = not given[0].ended if point == "note" else not any(one.rows() for one in self._commits)
            return before(self, *given) if other else os._exit(9)

        with contextlib.suppress(BaseException):
            setattr(where, point, end)
            world.once()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(workspace.lines()) == 1
    assert len(world.recorded()) == (point == "note")
    for _ in range(2):
        world.once()
    assert len(workspace.lines()) == 1
    assert world.recorded() == [(NAME, "failed", ended(pid))]
    assert workspace.line()["committed_at"] == world.host.rows()[NAME]["committed_at"]


def test_a_torn_line_of_an_end_is_moved_and_written_again(world: Unended) -> None:
    """As that of any commit."""
    workspace, pid = killed(world)
    workspace.journal.write_bytes(b'{"agent":"","branch":"","comm')
    os.utime(workspace.journal, (1, 1))
    wait_for(lambda: world.once().failed == 0 and bool(world.recorded()))
    assert [line["question"] for line in workspace.lines()] == [ended(pid)]


# --- who tells it


def test_the_daemon_records_it_and_says_so(world: Unended) -> None:
    """Seen by its watcher, kept while it is down, recorded after its start with one line in the log."""
    service = Service(world.host)
    service.reconcile_seconds = 1
    service.configure()
    ghosts = '\n[ghosts]\nrecord = "seen"\nafter_seconds = 1\n'
    service.config_file.write_text(service.config_file.read_text() + ghosts)
    with service:
        workspace = world.start("org/repo/seen")
        removed = world.start("org/repo/removed")
        going_on = world.start("org/repo/going-on")
        service.wait(lambda: has_runs(world, 3))
        service.stop()
        kill(world.agents[0])
        shutil.rmtree(removed.path)
        service.start()
        service.wait(lambda: len(world.recorded()) == 2)
        service.wait_log(f"org/repo/seen: committed as failed: {ended(world.agents[0].pid)} (run 1)")
        service.wait_log(f"org/repo/removed: committed as failed: {REMOVED} (run 1)")
        service.wait(lambda: service.state().committed == 2)
    assert workspace.line()["status"] == "failed"
    assert not going_on.journal.exists()


def has_runs(world: Unended, count: int) -> bool:
    try:
        return bool(world.host.query("SELECT count(*) = ? FROM open_runs WHERE began IS NOT NULL", count)[0][0])
    except sqlite3.Error:
        return False


def test_the_answers_know_it(world: Unended) -> None:
    """`failures` takes it for killed, `show` says what is known and how, `status` goes on to list the ghost."""
    _, pid = killed(world)
    text = " ".join(world.run("show", NAME).stdout.split())
    assert f"its process {pid} is gone (it was seen alive, started at " in text
    assert "recorded as failed once it has been gone for 0 s" in text
    world.once()
    (found,) = world.shown("failures")["rows"]
    assert (found["class"], found["fault"], found["cause"]) == (
        "process N ended without a final status",
        "host",
        "killed",
    )
    text = " ".join(world.run("show", NAME).stdout.split())
    assert "; recorded as failed at " in text
    assert [one["workspace"] for one in world.shown("status")["ghosts"]] == [NAME]


def test_a_pass_in_several_processes_records_it_too(world: Unended) -> None:
    """Once, when all of them have looked."""
    for number in range(6):
        world.start(f"org/repo/{number}")
    assert world.run("--once", "--jobs", "3").returncode == 0
    for agent in world.agents[:4]:
        kill(agent)
    shutil.rmtree(world.host.root / "org/repo/4")
    (world.host.root / "org/repo/5").rename(world.host.root / "org/repo/moved")
    for _ in range(2):
        assert world.run("--once", "--jobs", "3").returncode == 0
    assert sorted(question for _, _, question in world.recorded()) == sorted(
        [*(ended(agent.pid) for agent in world.agents[:4]), REMOVED]
    )


def test_a_dry_run_says_what_would_be_recorded(world: Unended) -> None:
    """And records nothing."""
    killed(world)
    assert f"would commit {world.host.root}/{NAME} (failed, run 1)" in world.run("--once", "--dry-run").stdout
    assert world.recorded() == []


def test_a_forced_commit_is_the_end_of_a_run(world: Unended) -> None:
    """What was taken as it is needs no other end."""
    killed(world)
    assert world.run("commit", "--force", NAME).returncode == 0
    for _ in range(2):
        world.once()
    assert [row[1] for row in world.recorded()] == ["running"]
