"""The history is lost, replaced, locked or spoiled under a running daemon: commits go on, the rows come later."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3

import pytest
from daemon_support import Service
from support import Host, Workspace, make, run, spoil, write_locked

POWERLESS = () if os.getuid() else ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
"""A prefix without the powers by which root passes over permissions."""


def committed_on_disk(workspace: Workspace) -> bool:
    """Journal and marker, whatever the history says."""
    return workspace.marker.exists() and len(workspace.lines()) == 1


@pytest.fixture
def service(host: Host) -> Service:
    """A daemon that reconciles often, over a root with three workspaces that are committed before it starts."""
    for number in range(3):
        make(host.root, f"org/repo/old-{number}")
    made = Service(host)
    made.reconcile_seconds = 2.0
    return made


def wait_for_all(service: Service, *more: Workspace) -> None:
    """Until the three old ones and `more` have one row each."""
    wanted = sorted(["org/repo/old-0", "org/repo/old-1", "org/repo/old-2", *(workspace.name for workspace in more)])
    service.wait(lambda: sorted(service.names()) == wanted)


def test_a_deleted_history_is_rebuilt_from_the_journals(host: Host, service: Service) -> None:
    """The next commit meets a new file, and all that was ever committed comes into it."""
    with service:
        wait_for_all(service)
        with service.paused():
            host.forget_history()
        new = make(host.root, "org/repo/new")
        wait_for_all(service, new)
        assert committed_on_disk(new)
        assert len(service.lines("was replaced or removed; reopened")) == 1


def test_a_replaced_history_is_filled_up(host: Host, service: Service) -> None:
    """An older copy put in its place lacks what came since."""
    with service:
        wait_for_all(service)
        copy = host.base / "copy.db"
        with sqlite3.connect(host.history) as live, sqlite3.connect(copy) as target:
            live.backup(target)
        live.close()
        target.close()
        between = make(host.root, "org/repo/between")
        wait_for_all(service, between)
        with service.paused():
            host.forget_history()
            copy.rename(host.history)
        wait_for_all(service, between)


@pytest.mark.faults
def test_a_locked_history_holds_up_no_commit(host: Host, service: Service) -> None:
    """Journal and marker are written while somebody sits on the lock; the row comes when he has left."""
    with service:
        wait_for_all(service)
        with write_locked(host.history):
            new = make(host.root, "org/repo/new")
            service.wait(lambda: committed_on_disk(new))
            service.wait(lambda: "locked" in service.state().history_error)
        wait_for_all(service, new)
        service.wait(lambda: service.state().history_error == "")
        assert len(service.lines("history available again")) == 1


def test_a_locked_history_holds_up_no_burst(host: Host) -> None:
    """However many finish meanwhile: journals and markers go on at full speed, and the rows follow."""
    burst = [make(host.root, f"org/repo/task-{number:04}", status="running") for number in range(1_200)]
    service = Service(host)
    service.settle_seconds = 0.0
    with service:
        with write_locked(host.history):
            for workspace in burst:
                workspace.write_status()
            service.wait(lambda: all(workspace.marker.exists() for workspace in burst), 90.0)
            assert service.names() == []
            single = make(host.root, "org/repo/single")
            service.wait(lambda: committed_on_disk(single))
        service.wait(lambda: len(service.names()) == len(burst) + 1)
        assert all(map(committed_on_disk, burst))


def test_a_history_out_of_reach_holds_up_no_commit(host: Host, service: Service) -> None:
    """Its directory is gone and something else stands there."""
    with service:
        wait_for_all(service)
        away = host.base / "away"
        with service.paused():
            host.history.parent.rename(away)
            host.history.parent.write_text("in the way")
        new = make(host.root, "org/repo/new")
        service.wait(lambda: committed_on_disk(new))
        service.wait_log("journals and markers are still written")
        with service.paused():
            host.history.parent.unlink()
            away.rename(host.history.parent)
        wait_for_all(service, new)
        service.wait(lambda: service.state().history_error == "")


def test_a_spoiled_history_is_set_aside_and_rebuilt(host: Host, service: Service) -> None:
    """Nothing is deleted: the spoiled file stays under another name, and a whole one takes its place."""
    with service:
        wait_for_all(service)
        service.wait(lambda: overwritten(service))
        new = make(host.root, "org/repo/new")
        service.wait(lambda: committed_on_disk(new))
        wait_for_all(service, new)
        aside = [path for path in host.history.parent.iterdir() if ".corrupt-" in path.name]
        assert aside
        assert len(service.lines("A new history is being rebuilt from the journals")) == 1


def overwritten(service: Service) -> bool:
    """Overwrite the history with nonsense, unless the daemon is at work in it."""
    history = service.host.history
    with service.paused(), contextlib.closing(sqlite3.connect(history, timeout=0.0)) as connection:
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if not is_busy:  # else what is left in the log would heal the file
            with history.open("r+b") as file:
                file.write(b"\xa5" * history.stat().st_size)
    return not is_busy


def test_a_daemon_that_starts_on_a_spoiled_history_rebuilds_it(host: Host, service: Service) -> None:
    """It does not need a commit to find out; the file's header, which is whole, says that it was one of ours."""
    with service:
        wait_for_all(service)
        assert service.stop() == 0
    spoil(host.history)
    with service:
        service.wait_ready(2)
        wait_for_all(service)
        assert len(service.lines("A new history is being rebuilt from the journals")) == 1


@pytest.mark.parametrize("bad", ["directory", "closed"])
def test_a_history_that_cannot_be_opened_any_more_is_said_once(host: Host, bad: str) -> None:
    """Something else stands in its place: one line, no storm of them, and the state tells; the rows come when it is
    back."""
    for number in range(3):
        make(host.root, f"org/repo/old-{number}")
    service = Service(host, prefix=POWERLESS)
    service.reconcile_seconds = 2.0
    with service:
        wait_for_all(service)
        away = host.base / "away"
        away.mkdir()
        with service.paused():
            for path in host.history.parent.glob("history.db*"):
                if path.name in ("history.db", "history.db-wal", "history.db-shm"):
                    path.rename(away / path.name)
            if bad == "directory":
                host.history.mkdir()
            else:
                shutil.copy(away / "history.db", host.history)
                host.history.chmod(0)
        service.wait(lambda: service.state().history_error != "")
        began = len(service.log().splitlines())
        new = make(host.root, "org/repo/new")
        service.wait(lambda: committed_on_disk(new))
        assert len(service.log().splitlines()) - began < 10, service.log()[-3000:]
        with service.paused():
            if bad == "directory":
                host.history.rmdir()
            else:
                host.history.unlink()
            for path in away.iterdir():
                path.rename(host.history.parent / path.name)
        wait_for_all(service, new)
        service.wait(lambda: service.state().history_error == "")


def test_a_text_file_in_place_of_the_history_is_left_as_it_is(host: Host, service: Service) -> None:
    """It was never ours: it is neither moved nor written, that is said once, and journals and markers go on."""
    notes = host.base / "notes.txt"
    notes.write_text("what to buy\n" * 100)
    with service:
        wait_for_all(service)
        with service.paused():
            host.history.rename(host.base / "away.db")
            notes.rename(host.history)
        before = host.history.read_bytes(), host.history.stat()
        service.wait(lambda: "no SQLite database" in service.state().history_error)
        for number in range(3):
            new = make(host.root, f"org/repo/new-{number}")
            service.wait(lambda new=new: committed_on_disk(new))  # type: ignore[misc]
        after = host.history.read_bytes(), host.history.stat()
        assert after[0] == before[0]
        assert (after[1].st_ino, after[1].st_mtime_ns) == (before[1].st_ino, before[1].st_mtime_ns)
        assert list(host.history.parent.glob("*.corrupt-*")) == []
        assert len(service.lines("not a history of agentic-watch")) == 1, service.log()[-3000:]


def test_an_error_of_the_history_shows_and_ends_while_nothing_is_committed(host: Host, service: Service) -> None:
    """What stands in the state is how it is now, not how it was at the last commit."""
    service.reconcile_seconds = 3600
    with service:
        wait_for_all(service)
        away = host.base / "away"
        with service.paused():
            host.history.parent.rename(away)
            host.history.parent.symlink_to("/proc")
        service.wait_log("journals and markers are still written")
        with service.paused():
            host.history.parent.unlink()
            away.rename(host.history.parent)
        service.wait_log("history available again")
        service.wait(lambda: service.state().history_error == "")


def test_a_history_that_may_not_be_written_any_more_is_said_while_nothing_is_committed(host: Host) -> None:
    """As when root restored it under the daemon: SQLite opens it all the same, for reading. Rows come when it may."""
    first = make(host.root)
    service = Service(host, prefix=POWERLESS)
    service.reconcile_seconds = 1.0
    with service:
        service.wait_committed(first)
        for path in host.history.parent.glob("history.db*"):
            path.chmod(0o444)
        service.wait(lambda: "is not writable" in service.state().history_error)
        new = make(host.root, "org/repo/new")
        service.wait(lambda: committed_on_disk(new))
        for path in host.history.parent.glob("history.db*"):
            path.chmod(0o644)
        service.wait_committed(first, new)
        service.wait(lambda: service.state().history_error == "")
        assert len(service.lines("is not writable by this user")) == 1


def test_a_daemon_that_cannot_write_its_history_says_so_before_it_is_ready(host: Host) -> None:
    """As when root made the file and the daemon is somebody else."""
    assert run([*host.arguments(), "--once"], host.base).returncode == 0
    for path in host.history.parent.glob("history.db*"):
        path.chmod(0o444)
    host.history.parent.chmod(0o555)
    (host.history.parent / "history.db.daemon").touch()
    (host.history.parent / "history.db.cookie").touch()
    try:
        with Service(host, prefix=POWERLESS) as service:
            lines = service.log().splitlines()
            said = next(i for i, line in enumerate(lines) if "ERROR" in line and "history.db" in line)
            assert said < next(i for i, line in enumerate(lines) if "ready: " in line)
            assert service.state().history_error
    finally:
        host.history.parent.chmod(0o755)


def test_a_history_that_a_newer_program_took_over_ends_the_daemon(host: Host) -> None:
    """Also when there is something left to be written into it: the process ends, with what configuration errors end."""
    workspace = make(host.root, status="running")
    with Service(host) as service:
        workspace.write_status(status="completed")
        service.wait_committed(workspace)
        with contextlib.closing(sqlite3.connect(host.history)) as newer:
            newer.execute("PRAGMA user_version = 99")
        assert service.wait_end() == 78
        assert "upgrade agentic-watch" in service.log()
