"""The cookie: inotify proves that it answers, and silence that proves nothing is not held against it."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import wait_for
from watchdog.observers.inotify_c import InotifyConstants, Mask, WatchDescriptor

from agentic_watch.daemon.health import Health
from agentic_watch.daemon.single_instance import Instance
from agentic_watch.daemon.systemd_notify import Notifier
from agentic_watch.watch.change_queues import HintQueue
from agentic_watch.watch.inotify_reader import InotifyReader, Watched
from agentic_watch.watch.liveness_probe import LivenessProbe


@pytest.fixture
def inotify() -> Iterator[InotifyReader]:
    """A running instance of the test's own."""
    made = InotifyReader([b"cookie", b"history.db.cookie"], HintQueue().is_idle)
    made.start()
    yield made
    made.stop()
    made.join(5.0)


class Stuck:
    """A handler that does not come back until it is let go: the reading thread hangs in it."""

    def __init__(self) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()

    def route(self, _wd: WatchDescriptor, _mask: int, _name: bytes) -> bool:
        self.entered.set()
        self.let_go.wait(30.0)
        return False


def hang(inotify: InotifyReader, directory: Path) -> Stuck:
    """Let the reading thread hang."""
    directory.mkdir()
    stuck = Stuck()
    watched: Watched[None] = {}
    inotify.register(watched, stuck)
    inotify.watch(os.fsencode(directory), Mask(InotifyConstants.IN_CREATE), watched)
    (directory / "file").mkdir()
    assert stuck.entered.wait(10.0)
    return stuck


def test_each_question_is_answered(tmp_path: Path, inotify: InotifyReader) -> None:
    """Question after question, by an empty file that is not written to."""
    file = tmp_path / "history.db.cookie"
    cookie = LivenessProbe(inotify, str(file))
    for _ in range(5):
        wait_for(lambda: cookie._proven and cookie._answered)
        assert cookie.answered()
    assert file.stat().st_size == 0


def test_a_hung_reader_does_not_answer_until_it_goes_on(tmp_path: Path, inotify: InotifyReader) -> None:
    """Its thread lives, and still the answer is no: however often it is asked, until it reads again."""
    cookie = LivenessProbe(inotify, str(tmp_path / "cookie"))
    wait_for(lambda: cookie._proven and cookie._answered)
    stuck = hang(inotify, tmp_path / "other")
    assert cookie.answered()  # that was the question before
    assert not any(cookie.answered() for _ in range(100))
    assert inotify.is_alive()
    stuck.let_go.set()
    wait_for(cookie.answered)


def test_a_question_that_cannot_be_put_proves_nothing(tmp_path: Path, inotify: InotifyReader) -> None:
    """A full or read-only disk, here a directory in the file's place: counts as answered, as long as it lasts."""
    file = tmp_path / "cookie"
    cookie = LivenessProbe(inotify, str(file))
    wait_for(lambda: cookie._proven and cookie._answered)
    file.unlink()
    file.mkdir()
    assert all(cookie.answered() for _ in range(100))
    file.rmdir()
    wait_for(lambda: cookie.answered() and file.is_file())
    stuck = hang(inotify, tmp_path / "other")
    cookie.answered()
    assert not cookie.answered()
    stuck.let_go.set()


def test_silence_from_the_beginning_proves_nothing(tmp_path: Path, inotify: InotifyReader) -> None:
    """Where no event ever came, as on some network file systems, the threads' lives are the answer."""
    stuck = hang(inotify, tmp_path / "other")
    cookie = LivenessProbe(inotify, str(tmp_path / "cookie"))
    assert all(cookie.answered() for _ in range(100))
    stuck.let_go.set()


def test_a_directory_that_is_replaced_is_watched_anew(tmp_path: Path, inotify: InotifyReader) -> None:
    """The history's directory is moved away or deleted, and made again."""
    state = tmp_path / "state"
    state.mkdir()
    cookie = LivenessProbe(inotify, str(state / "cookie"))
    wait_for(lambda: cookie._proven and cookie._answered)
    (state / "cookie").unlink()
    state.rmdir()
    wait_for(lambda: cookie._watched is None)
    assert cookie.answered()
    state.mkdir()
    wait_for(lambda: cookie.answered() and cookie._watched is not None and (state / "cookie").is_file())
    wait_for(lambda: cookie._answered)


def test_no_answer_no_watchdog(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """WATCHDOG=1 is sent while the watcher answers; when it does not, it is not, and that is said once."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    held = Instance.acquire(str(tmp_path / "history.db"))
    health = Health(Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "20000"}), held)

    def heard(*, answers: bool) -> bool:
        time.sleep(0.011)  # a quarter of the watchdog's time is the least between two words
        health.turned((), 0, settled=True, answers=lambda: answers)
        words = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                words += manager.recv(65536)
        return b"WATCHDOG=1" in words

    try:
        assert heard(answers=True)
        assert not any(heard(answers=False) for _ in range(10))
        assert [r.message.partition(" for ")[0] for r in caplog.records] == ["inotify has not answered"]
        assert heard(answers=True)
    finally:
        held.release()
        manager.close()


def test_a_cookie_that_an_agent_watched_is_not_followed(tmp_path: Path, inotify: InotifyReader) -> None:
    """A symbolic link in the file's place is neither followed nor replaced."""
    (tmp_path / "cookie").symlink_to(tmp_path / "target")
    cookie = LivenessProbe(inotify, str(tmp_path / "cookie"))
    assert cookie.answered()
    assert not (tmp_path / "target").exists()


def test_a_directory_that_is_renamed_and_made_anew_is_no_false_alarm(tmp_path: Path, inotify: InotifyReader) -> None:
    """The watch stays with the directory that is renamed; a question to its successor is not taken for unanswered."""
    state = tmp_path / "state"
    state.mkdir()
    cookie = LivenessProbe(inotify, str(state / "cookie"))
    wait_for(lambda: cookie._proven and cookie._answered)
    state.rename(tmp_path / "away")
    state.mkdir()
    for _ in range(3):
        wait_for(cookie.answered)
    wait_for(lambda: cookie._answered and (state / "cookie").is_file())
    stuck = hang(inotify, tmp_path / "other")
    cookie.answered()
    assert not cookie.answered()
    stuck.let_go.set()
