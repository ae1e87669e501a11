"""One inotify instance for all: a watch lasts until nobody needs it, and each who needs it hears of an event once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import wait_for
from watchdog.observers.inotify_c import InotifyConstants, Mask, WatchDescriptor

from agentic_watch.watch.inotify_reader import THROTTLED, InotifyReader, Watched

MASK = Mask(InotifyConstants.IN_CREATE | InotifyConstants.IN_DELETE_SELF)


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.ended: list[int] = []
        self.throttled_watches: list[int] = []

    def route(self, wd: WatchDescriptor, mask: int, name: bytes) -> None:
        if mask & InotifyConstants.IN_IGNORED:
            self.ended.append(wd)
        elif mask & THROTTLED:
            self.throttled_watches.append(wd)
        else:
            self.events.append(name)


@pytest.fixture
def is_idle() -> threading.Event:
    """Set: the loop has nothing to do."""
    event = threading.Event()
    event.set()
    return event


@pytest.fixture
def reader(is_idle: threading.Event) -> Iterator[InotifyReader]:
    """A running one of the test's own."""
    made = InotifyReader([b"one", b"two", b"three"], is_idle)
    made.start()
    yield made
    made.stop()
    made.join(5.0)


def watches(reader: InotifyReader) -> int:
    """How many the kernel keeps (proc(5), fdinfo)."""
    return Path(f"/proc/self/fdinfo/{reader._inotify_fd}").read_text().count("inotify wd:")


def watched(reader: InotifyReader, directory: Path, listener: Listener, mask: Mask = MASK) -> Watched[None]:
    """The watch of a directory in a dictionary of its own, of whose events the listener is told."""
    made: Watched[None] = {}
    reader.register(made, listener)
    reader.watch(os.fsencode(directory), mask, made)
    return made


def test_a_watch_lasts_as_long_as_anybody_needs_it(tmp_path: Path, reader: InotifyReader) -> None:
    """Whoever watches a directory twice, as when all is watched anew, hears of an event once."""
    first, second = Listener(), Listener()
    made = [watched(reader, tmp_path, listener) for listener in (first, first, second)]
    (wd,) = set().union(*made)
    assert watches(reader) == 1
    (tmp_path / "one").touch()
    wait_for(lambda: (first.events, second.events) == ([b"one"], [b"one"]))
    made[0].clear()
    reader.end_unneeded([wd])
    (tmp_path / "two").touch()
    wait_for(lambda: (first.events, second.events) == ([b"one", b"two"], [b"one", b"two"]))
    made[1].clear()
    reader.end_unneeded([wd])
    (tmp_path / "three").touch()
    wait_for(lambda: second.events == [b"one", b"two", b"three"])
    assert first.events == [b"one", b"two"]
    assert watches(reader) == 1
    reader.unregister(made[2])
    reader.end_unneeded([wd])
    assert watches(reader) == 0


def test_the_end_of_a_directory_is_told_to_all_and_ends_the_watch(tmp_path: Path, reader: InotifyReader) -> None:
    """To end it after that is no error."""
    first, second, gone = Listener(), Listener(), tmp_path / "gone"
    gone.mkdir()
    made, other = watched(reader, gone, first), watched(reader, gone, second)
    assert made == other
    gone.rmdir()
    wait_for(lambda: (first.ended, second.ended) == (list(made), list(made)))
    ended = list(made)
    made.clear()
    other.clear()
    reader.end_unneeded(ended)
    assert watches(reader) == 0


def test_while_the_loop_is_at_work_what_happens_is_read_in_one_go(
    tmp_path: Path, reader: InotifyReader, is_idle: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of a commit make events, too: to be woken for each would take the processor from the commit."""
    reads = []
    read = reader._read_event_buffer
    monkeypatch.setattr(reader, "_read_event_buffer", lambda size: [reads.append(size), read(size)][1])
    listener = Listener()
    watched(reader, tmp_path, listener)
    is_idle.clear()
    began = time.monotonic()
    for number in range(200):
        (tmp_path / str(number)).touch()
        time.sleep(0.001)
    assert len(reads) <= 2 + (time.monotonic() - began) / 0.02
    is_idle.set()
    (tmp_path / "one").touch()
    wait_for(lambda: b"one" in listener.events)


def test_the_reader_does_not_let_the_kernel_drop_events_meanwhile(
    tmp_path: Path, reader: InotifyReader, is_idle: threading.Event
) -> None:
    """However long the loop is at work."""
    listener, queue = Listener(), int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    places = [tmp_path / str(number) for number in range(16)]
    for place in places:
        place.mkdir()
        watched(reader, place, listener)
    is_idle.clear()
    for number in range(2 * queue):
        made = places[number % len(places)] / str(number)
        made.mkdir()
        made.rmdir()
    wait_for(lambda: len(listener.events) == 2 * queue)
    assert reader.overflows == 0


def test_equal_events_that_are_read_together_are_heard_once(tmp_path: Path, is_idle: threading.Event) -> None:
    """Two files that are opened and closed in turn make two events a read, however many there were."""
    listener, reader = Listener(), InotifyReader([b"one", b"two"], is_idle)
    watched(reader, tmp_path, listener, Mask(InotifyConstants.IN_CLOSE_WRITE))
    for _ in range(10):
        for name in ("one", "two"):
            written(tmp_path / name)
    reader.start()
    try:
        wait_for(lambda: listener.events == [b"one", b"two"])
        written(tmp_path / "two")
        wait_for(lambda: listener.events == [b"one", b"two", b"two"])
    finally:
        reader.stop()
        reader.join(5.0)


def test_a_directory_with_too_many_events_loses_its_watch(tmp_path: Path, reader: InotifyReader) -> None:
    """Its own listeners are told, and only its watch ends, of which the kernel tells them, too."""
    listener = Listener()
    paths = [tmp_path / "loud", tmp_path / "quiet"]
    for path in paths:
        path.mkdir()
    loud, _ = (watched(reader, path, listener, Mask(InotifyConstants.IN_CLOSE_WRITE)) for path in paths)
    wait_for(lambda: storms(paths[0]) and set(listener.throttled_watches) == set(loud))
    wait_for(lambda: listener.ended == list(loud))
    wait_for(lambda: watches(reader) == 1)
    (paths[1] / "three").touch()
    wait_for(lambda: b"three" in listener.events)


def written(file: Path) -> None:
    """Opened for writing, and closed."""
    with file.open("ab"):
        pass


def storms(directory: Path) -> bool:
    """Some hundred events."""
    for number in range(500):
        written(directory / ("one", "two")[number % 2])
    return True


def test_what_cannot_be_watched_is_an_error(tmp_path: Path, reader: InotifyReader) -> None:
    """With the kernel's own cause."""
    with pytest.raises(FileNotFoundError):
        watched(reader, tmp_path / "nothing", Listener())
