"""One daemon per history: the lock, its holder's death, and the state that others read."""

import contextlib
import errno
import fcntl
import json
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support import NOBODY, wait_for
from unprivileged import public_directory

from agentic_watch.daemon import daemon_state
from agentic_watch.daemon.daemon_presence import file_of
from agentic_watch.daemon.daemon_state import DaemonState, Liveness, look, pulse
from agentic_watch.daemon.single_instance import HistoryInUse, Instance
from agentic_watch.watch import RootState

STATE = DaemonState(
    pid=4711,
    version="0.1.0",
    started_at="2026-04-14T11:00:00Z",
    updated_at="2026-04-14T11:17:08Z",
    phase="running",
    roots=(RootState("main", "/srv/é", "inotify", 120), RootState("/nfs", "/nfs", "poll", 0, "no events here")),
    pending=3,
    failing=1,
    committed=12,
    history_error="disk\nfull",
    last_scan_at="2026-04-14T11:15:00Z",
    overflows=2,
)
HOLD = """
import os, sys
from dataclasses import replace
from agentic_watch.daemon.single_instance import Instance
sys.path.insert(0, sys.argv[2])
from test_single_instance import STATE
instance = Instance.acquire(sys.argv[1])
instance.publish(replace(STATE, pid=os.getpid()))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def history(tmp_path: Path) -> str:
    return str(tmp_path / "state" / "history.db")


@contextlib.contextmanager
def held(history: str) -> Iterator[Instance]:
    instance = Instance.acquire(history)
    try:
        yield instance
    finally:
        instance.release()


def test_no_daemon_leaves_no_trace(history: str) -> None:
    """Looking where no daemon ever ran finds none, and makes neither the file nor its directory."""
    assert look(history) == (False, None)
    assert not os.path.exists(os.path.dirname(history))


def test_state_is_read_as_it_was_published(history: str) -> None:
    """While the lock is held the state is the one published last, and a shorter one leaves nothing of a longer."""
    with held(history) as instance:
        assert look(history) == (True, None)
        instance.publish(STATE)
        assert look(history) == (True, STATE)
        shorter = replace(STATE, roots=(), phase="stopping")
        instance.publish(shorter)
        assert look(history) == (True, shorter)
        with open(f"{history}.daemon", encoding="utf-8") as file:
            assert json.load(file)["phase"] == "stopping"
    assert look(history) == (False, shorter)


def test_second_daemon_is_refused_and_told_who_holds(history: str) -> None:
    """A second daemon gets Held, which names the file and the holder's pid; after the release it may run."""
    with held(history) as instance:
        instance.publish(STATE)
        with pytest.raises(HistoryInUse, match=r"history\.db\.daemon: .*pid 4711"):
            Instance.acquire(history)
    with held(history):
        assert look(history) == (True, None)


def test_another_name_of_the_history_is_no_way_around(history: str, tmp_path: Path) -> None:
    """A symlink to the history leads to the same lock."""
    link = tmp_path / "link.db"
    link.symlink_to(history)
    with held(history), pytest.raises(HistoryInUse):
        Instance.acquire(str(link))


def test_killed_daemon_holds_nothing(history: str) -> None:
    """After SIGKILL of its holder the lock is free, and what the holder said last can still be read."""
    arguments = [sys.executable, "-c", HOLD, history, str(Path(__file__).parent)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        running, state = look(history)
        assert running
        with pytest.raises(HistoryInUse, match=f"pid {process.pid}"):
            Instance.acquire(history)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
    assert state == replace(STATE, pid=process.pid)
    assert look(history) == (False, state)
    with held(history):
        assert look(history)[0]


def test_a_look_does_not_keep_a_daemon_from_starting(history: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that holds the shared lock for an instant delays a start, and does not refuse it."""
    monkeypatch.setattr("agentic_watch.daemon.single_instance._PATIENCE_SECONDS", 10.0)
    with held(history):
        pass
    descriptor = os.open(file_of(history), os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    timer = threading.Timer(0.2, os.close, [descriptor])
    timer.start()
    with held(history):
        assert look(history)[0]
    timer.join()


def test_readers_never_see_a_torn_state(history: str) -> None:
    """While another process rewrites the state without a pause, each look finds one that was published."""
    context = multiprocessing.get_context("fork")
    states = [replace(STATE, roots=STATE.roots * n, history_error="x" * 4000 * n) for n in (1, 2, 5)]
    with held(history) as instance:
        instance.publish(states[0])
        writer = context.Process(target=_publish_forever, args=(instance, states))
        writer.start()
        seen: list[DaemonState | None] = []

        def has_seen_changes() -> bool:
            seen.extend(look(history)[1] for _ in range(2000))
            return len({state.history_error for state in seen if state}) > 1

        try:
            wait_for(has_seen_changes)
        finally:
            writer.kill()
            writer.join()
            writer.close()
    assert all(state in states for state in seen)


def _publish_forever(instance: Instance, states: list[DaemonState]) -> None:
    while True:
        for state in states:
            instance.publish(state)


def test_full_disk_is_said_once_and_ends_nothing(history: str, caplog: pytest.LogCaptureFixture) -> None:
    """A state that does not fit is one warning however often it is tried; one that fits is published again."""
    with held(history) as instance, caplog.at_level(logging.WARNING):
        instance.publish(STATE)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(file_of(history)), limits[1]))
            for _ in range(3):
                instance.publish(replace(STATE, history_error="x" * 10_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)
        assert len(caplog.records) == 1
        assert "history.db.daemon" in caplog.text
        assert look(history) == (True, None)
        instance.publish(STATE)
        assert look(history) == (True, STATE)


def test_a_file_that_says_nonsense_is_no_state(history: str) -> None:
    """Whatever stands in a left-over file, looking gives no state and raises nothing."""
    os.makedirs(os.path.dirname(history))
    for content in (b"", b"{", b"[]\n", b"1\n", b'{"crc32": 1}\n', b"\xff\n", b"\x00" * 5000):
        Path(f"{history}.daemon").write_bytes(content)
        assert look(history) == (False, None)


def test_directory_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    """Where a file stands in the way of the history's directory the error names it."""
    (tmp_path / "state").write_text("a file")
    with pytest.raises(OSError, match="state") as caught:
        Instance.acquire(str(tmp_path / "state" / "history.db"))
    assert caught.value.errno in (errno.EEXIST, errno.ENOTDIR)
    assert look(str(tmp_path / "state" / "history.db")) == (False, None)


def test_reading_needs_no_more_than_read_permission() -> None:
    """A user who may only read sees the daemon running and its state."""
    script = (
        "import os, sys; from agentic_watch.daemon.daemon_state import look; uid = int(sys.argv[2])\n"
        "os.getuid() or (os.setgroups([]), os.setgid(uid), os.setuid(uid))\n"
        "print(look(sys.argv[1])[0], look(sys.argv[1])[1].pid)"
    )
    with public_directory() as directory, held(str(directory / "history.db")) as instance:
        instance.publish(STATE)
        arguments = [sys.executable, "-c", script, str(directory / "history.db"), str(NOBODY)]
        result = subprocess.run(arguments, capture_output=True, text=True, timeout=20, check=True)
    assert result.stdout.split() == ["True", "4711"]


def test_removing_the_file_lets_no_second_daemon_in(history: str) -> None:
    """The directory is claimed too; the holder makes its file again as soon as it says something."""
    with held(history) as instance:
        instance.publish(STATE)
        os.unlink(file_of(history))
        assert look(history) == (True, None)
        with pytest.raises(HistoryInUse):
            Instance.acquire(history)
        os.unlink(file_of(history))
        instance.publish(STATE)
        assert look(history) == (True, STATE)
        with pytest.raises(HistoryInUse, match="pid 4711"):
            Instance.acquire(history)
    with held(history):
        assert look(history) == (True, None)


def test_two_histories_in_one_directory_have_a_daemon_each(history: str) -> None:
    """A claim is to one file of the directory, not to all."""
    other = history.replace("history.db", "other.db")
    with held(history), held(other):
        assert look(history)[0]
        assert look(other)[0]


def test_a_directory_that_is_moved_away_is_claimed_anew(history: str) -> None:
    """What stands under the name now is held by the same daemon, and nobody else comes in."""
    directory = Path(history).parent
    with held(history) as instance:
        instance.publish(STATE)
        directory.rename(directory.with_name("away"))
        directory.mkdir()
        instance.publish(STATE)
        assert look(history) == (True, STATE)
        with pytest.raises(HistoryInUse):
            Instance.acquire(history)


def test_a_directory_that_is_back_by_the_time_it_is_claimed_anew_is_held_still(
    history: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon's own lock is not taken for another daemon's; nor is anything let go."""
    instance = Instance.acquire(history)
    instance.publish(STATE)
    with monkeypatch.context() as patch:
        patch.setattr(Instance, "_in_place", lambda _: False)  # it was away when it was looked for
        patch.setattr(daemon_state, "write", lambda *_: None)
        instance.publish(STATE)
    assert look(history) == (True, STATE)
    assert pulse(history)[0] is Liveness.RUNNING
    with pytest.raises(HistoryInUse):
        Instance.acquire(history)
    instance.publish(replace(STATE, pending=7))
    _, state = look(history)
    assert state is not None
    assert state.pending == 7
    instance.release()
    assert pulse(history)[0] is Liveness.STOPPED


def test_who_was_first_in_the_new_directory_stays(history: str) -> None:
    """A daemon whose directory was moved away, and whose history another one holds by now, is told so."""
    directory = Path(history).parent
    with held(history) as instance:
        instance.publish(STATE)
        directory.rename(directory.with_name("away"))
        with held(history) as second:
            second.publish(STATE)
            with pytest.raises(HistoryInUse):
                instance.publish(STATE)
            assert look(history) == (True, STATE)


def test_a_directory_in_which_no_file_can_be_made_does_not_end_the_daemon(
    history: str, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no other daemon: the state is stale, which the log says, until the directory is back."""
    directory = Path(history).parent
    with held(history) as instance:
        directory.rename(directory.with_name("away"))
        directory.symlink_to("/proc")
        instance.publish(STATE)
        assert "cannot write" in caplog.text
        directory.unlink()
        directory.with_name("away").rename(directory)
        instance.publish(STATE)
        assert look(history) == (True, STATE)


def test_a_directory_that_comes_back_while_another_daemons_lock_is_waited_for_is_held_still(
    history: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One of the two stays, the one whose directory has the name again: neither waits for what the other holds."""
    monkeypatch.setattr("agentic_watch.daemon.single_instance._PATIENCE_SECONDS", 10.0)
    directory = Path(history).parent
    with held(history) as instance:
        instance.publish(STATE)
        directory.rename(directory.with_name("away"))
        with held(history) as second:
            waiting = threading.Thread(target=instance.publish, args=[replace(STATE, pending=7)])
            waiting.start()
            wait_for(lambda: "was removed; recreated" in caplog.text)
            shutil.rmtree(directory)
            directory.with_name("away").rename(directory)
            waiting.join()
            assert look(history) == (True, replace(STATE, pending=7))
            monkeypatch.setattr("agentic_watch.daemon.single_instance._PATIENCE_SECONDS", 0.1)
            with pytest.raises(HistoryInUse, match="pid 4711"):
                second.publish(replace(STATE, pid=4712))
        assert look(history) == (True, replace(STATE, pending=7))


def test_a_second_daemon_that_waits_takes_no_lock_from_the_first(history: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file was removed, and the second one made it again before the first noticed."""
    monkeypatch.setattr("agentic_watch.daemon.single_instance._PATIENCE_SECONDS", 10.0)
    with held(history) as instance:
        os.unlink(file_of(history))
        second = threading.Thread(target=lambda: Instance.acquire(history).release())
        second.start()
        wait_for(lambda: os.path.exists(file_of(history)))
        instance.publish(STATE)
        assert second.is_alive()
        assert look(history) == (True, STATE)
    second.join()  # it had its turn


def test_a_daemon_that_stands_still_is_told_from_one_that_is_gone(history: str) -> None:
    """By when it last said a word: running, stale, stopped; and unknown where this user may not look."""
    assert pulse(history) == (Liveness.STOPPED, None)
    with held(history) as instance:
        assert pulse(history) == (Liveness.RUNNING, None)
        alive = replace(STATE, beat=time.monotonic())
        instance.publish(alive)
        assert pulse(history) == (Liveness.RUNNING, alive)
        still = replace(STATE, beat=time.monotonic() - 40)
        instance.publish(still)
        assert pulse(history) == (Liveness.STALE, still)
    assert pulse(history) == (Liveness.STOPPED, still)
    os.unlink(file_of(history))
    os.symlink("/nowhere", file_of(history))
    assert pulse(history) == (Liveness.UNKNOWN, None)
