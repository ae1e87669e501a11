"""READY=1 comes when each root's first look is over and what was due then is done, whatever else goes on meanwhile."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemon_support import Service
from support import Host, make, patched, wait_for
from test_long_journals import fill
from test_systemd_notify import Manager

from agentic_watch.config import Root
from agentic_watch.daemon.daemon_state import look
from agentic_watch.daemon.health import Health
from agentic_watch.daemon.pending import Lane, Pending, Readiness
from agentic_watch.daemon.single_instance import Instance
from agentic_watch.daemon.systemd_notify import Notifier
from agentic_watch.workspace.candidate import Candidate

STREAM = """
import itertools, os, sys, time
waiting = []
for number in itertools.count():
    meta = f"{sys.argv[1]}/stream/repo/task-{number}/.meta"
    os.makedirs(meta)
    with open(f"{meta}/new", "w") as file:
        file.write('{"status": "completed", "updated_at": "2026-04-14T11:17:08Z"}')
    os.rename(f"{meta}/new", f"{meta}/status.json")
    waiting.append(meta)
    while len(waiting) >= int(sys.argv[2]):
        time.sleep(0.002)
        waiting = [meta for meta in waiting if not os.path.exists(f"{meta}/commit.json")]
"""
AT_A_TIME = 60
SHORT_TURNS = """
import time
from agentic_watch.daemon import due_commits
take_due = due_commits.DueCommits._take_due
def slow_take(*given):
    time.sleep(0.004)
    return take_due(*given)
due_commits.DueCommits._take_due = slow_take
due_commits._TURN_SECONDS = 0.05
"""
"""A patch of the program: a turn has time for a dozen commits, and the next ones are due when it ends."""
SLOW_LOOKS = """
import time
from agentic_watch.inventory import root_scans
scan_in_steps = root_scans.scan_in_steps
def slow_steps(*given):
    for step in scan_in_steps(*given):
        time.sleep(0.03)
        yield step
root_scans.scan_in_steps = slow_steps
"""
"""A patch of the program: a look over a root takes longer than the least poll_seconds."""


@contextlib.contextmanager
def stream(root: Path) -> Iterator[None]:
    """Finishes without end: so many wait at any time, however fast or slow they are committed."""
    process = subprocess.Popen([sys.executable, "-c", STREAM, str(root), str(AT_A_TIME)])
    try:
        wait_for(lambda: (root / "stream/repo/task-9").exists())
        yield
    finally:
        process.kill()
        process.wait()


def candidate(name: str) -> Candidate:
    return Candidate(Root("/srv/work"), name)


def test_who_hears_that_it_is_ready_reads_its_state(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The state is written before READY is sent and logged: `check` may come right after `systemctl start`."""
    history, phases = str(tmp_path / "history.db"), []

    class Asking(Notifier):
        def ready(self) -> None:
            state = look(history)[1]
            phases.append(state and state.phase)

    held = Instance.acquire(history)
    try:
        health = Health(Asking({}), held)
        health.started(())
        assert not phases
        with caplog.at_level("INFO"):
            health.turned((), 0, settled=True)
        health.reloading()
        health.turned((), 0, settled=True)
    finally:
        held.release()
    assert phases == ["running", "running"]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["ready"]


def test_ready_comes_under_a_steady_stream_and_after_a_reload(host: Host, tmp_path: Path) -> None:
    """There is never an instant in which nothing is due."""
    host.root.mkdir(exist_ok=True)
    (tmp_path / "systemd").mkdir()
    manager = Manager(str(tmp_path / "systemd/notify"))
    service = Service(host, environ={"NOTIFY_SOCKET": manager.path, **patched(host.base, SHORT_TURNS)})
    service.settle_seconds = 0.0
    try:
        with stream(host.root), service:
            service.wait(lambda: len(manager.having("READY")) == 1)
            service.signal(signal.SIGHUP)
            service.wait(lambda: len(manager.having("RELOADING")) == 1)
            service.wait(lambda: len(manager.having("READY")) == 2)
    finally:
        manager.close()


def test_ready_comes_where_looks_take_longer_than_the_pause_between_them(host: Host) -> None:
    """Four polled roots, one of which is being looked at at any time."""
    service = Service(host, environ=patched(host.base, SLOW_LOOKS))
    service.poll_seconds = 1.0
    service.roots = [{"path": str(host.base / f"root-{number}"), "watch": "poll"} for number in range(4)]
    for root in service.roots:
        for number in range(20):
            make(Path(root["path"]), f"org/repo-{number}/task", status="running")
    with service:
        service.wait(lambda: service.watching() == ["poll"] * 4)


def test_what_comes_later_is_not_waited_for() -> None:
    """A generation: what was due when the last first look ended."""
    pending = Pending(0.0)
    readiness = Readiness(pending, ["one", "two"])
    pending.touch(candidate("a"), 100.0)
    readiness.seen("one")
    assert not readiness.is_reached(100.0, frozenset(), {})
    readiness.seen("two")
    assert not readiness.is_reached(100.0, frozenset(), {})
    pending.touch(candidate("b"), 101.0)
    assert pending.take(101.0, Lane.FOUND) == candidate("a")
    assert readiness.is_reached(101.0, frozenset(), {})


def test_a_root_that_hangs_is_not_waited_for() -> None:
    """It is named, and the others are served."""
    readiness = Readiness(Pending(0.0), ["one", "two"])
    readiness.seen("one")
    assert not readiness.is_reached(100.0, frozenset(), {})
    assert readiness.is_reached(100.0, frozenset({"two"}), {})


def test_a_long_journal_that_is_read_in_turns_is_waited_for_once() -> None:
    """Until what was due is committed; not for a reading that begins after that, as an agent can have one begin."""
    pending = Pending(0.0)
    readiness = Readiness(pending, ["one"])
    pending.touch(candidate("long"), 100.0)
    readiness.seen("one")
    assert not readiness.is_reached(100.0, frozenset(), {})
    long = pending.take(100.0, Lane.FOUND)
    assert long is not None
    for now in (101.0, 102.0):
        pending.add(long, now, lane=Lane.BUSY)
        assert not readiness.is_reached(now, frozenset(), {long.key: 100.5})
        assert pending.take(now, Lane.BUSY) == long
    pending.add(long, 103.0, lane=Lane.BUSY)
    assert readiness.is_reached(103.0, frozenset(), {long.key: 102.5})


def test_many_long_journals_are_waited_for_no_longer_than_a_minute() -> None:
    """One agent can fill as many as it likes; what needs no long journal is waited for all the same."""
    pending = Pending(0.0)
    readiness = Readiness(pending, [])
    long = candidate("long").key
    pending.touch(candidate("short"), 100.0)
    assert not readiness.is_reached(100.0, frozenset(), {long: 99.0})
    assert not readiness.is_reached(161.0, frozenset(), {long: 99.0})
    assert pending.take(161.0, Lane.FOUND) is not None
    assert readiness.is_reached(161.0, frozenset(), {long: 99.0})
    readiness = Readiness(pending, [])
    assert not readiness.is_reached(200.0, frozenset(), {long: 99.0})
    assert not readiness.is_reached(259.0, frozenset(), {long: 99.0})
    assert readiness.is_reached(260.0, frozenset(), {long: 99.0})


def test_ready_comes_once_a_long_journal_is_read_and_its_finish_committed(host: Host) -> None:
    """It was due at the start, and takes longer than a turn."""
    workspace = make(host.root)
    fill(workspace, 5_000)
    service = Service(host, patience_seconds=60.0)
    service.settle_seconds = 0.0
    with service:
        assert workspace.mark()["runs"] == 0
        assert host.query("SELECT count(*) AS n FROM dispatch_history")[0]["n"] == 5_001
