"""One inotify instance for all: a watch lasts until nobody needs it, and each who needs it hears of an event once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import wait_for
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, Mask

from agentic_watch.watch.kernel_reader import KernelReader

MASK = Mask(InotifyConstants.IN_CREATE | InotifyConstants.IN_DELETE_SELF)


class Hearer:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.ended: list[int] = []

    def on_event(self, event: InotifyEvent) -> None:
        self.events.append(event.name)

    def on_watch_deleted(self, wd: int) -> None:
        self.ended.append(wd)

    def on_queue_overflow(self) -> None:
        pass


@pytest.fixture
def reader() -> Iterator[KernelReader]:
    """A running one of the test's own."""
    made = KernelReader([b"one", b"two", b"three"])
    made.start()
    yield made
    made.stop()
    made.join(5.0)


def watches(reader: KernelReader) -> int:
    """How many the kernel keeps (proc(5), fdinfo)."""
    return Path(f"/proc/self/fdinfo/{reader._inotify_fd}").read_text().count("inotify wd:")


def test_a_watch_lasts_until_each_request_for_it_is_taken_back(tmp_path: Path, reader: KernelReader) -> None:
    """Whoever asked twice, as for a directory that is watched anew, hears of an event once."""
    first, second, path = Hearer(), Hearer(), os.fsencode(tmp_path)
    wds = [reader.hear(path, MASK, hearer) for hearer in (first, first, second)]
    assert len(set(wds)) == watches(reader) == 1
    (tmp_path / "one").touch()
    wait_for(lambda: (first.events, second.events) == ([b"one"], [b"one"]))
    reader.unhear(wds[:1], first)
    (tmp_path / "two").touch()
    wait_for(lambda: (first.events, second.events) == ([b"one", b"two"], [b"one", b"two"]))
    reader.unhear(wds[:1], first)
    (tmp_path / "three").touch()
    wait_for(lambda: second.events == [b"one", b"two", b"three"])
    assert first.events == [b"one", b"two"]
    assert watches(reader) == 1
    reader.unhear(wds[:1], second)
    assert watches(reader) == 0


def test_the_end_of_a_directory_is_told_to_all_and_ends_the_watch(tmp_path: Path, reader: KernelReader) -> None:
    """What is taken back after that is no error."""
    first, second, gone = Hearer(), Hearer(), tmp_path / "gone"
    gone.mkdir()
    wd, again = (reader.hear(os.fsencode(gone), MASK, hearer) for hearer in (first, second))
    assert wd == again
    gone.rmdir()
    wait_for(lambda: (first.ended, second.ended) == ([wd], [wd]))
    reader.unhear([wd], first)
    assert watches(reader) == 0


def test_while_the_loop_is_at_work_what_happens_is_read_in_one_go(
    tmp_path: Path, reader: KernelReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of a commit make events, too: to be woken for each would take the processor from the commit."""
    reads = []
    read = reader._read_event_buffer
    monkeypatch.setattr(reader, "_read_event_buffer", lambda size: [reads.append(size), read(size)][1])
    hearer = Hearer()
    reader.hear(os.fsencode(tmp_path), MASK, hearer)
    reader.announced()
    began = time.monotonic()
    for number in range(200):
        (tmp_path / str(number)).touch()
        time.sleep(0.001)
    assert len(reads) <= 2 + (time.monotonic() - began) / 0.02
    reader.read_on()
    (tmp_path / "one").touch()
    wait_for(lambda: b"one" in hearer.events)


def test_the_reader_does_not_let_the_kernel_drop_events_meanwhile(tmp_path: Path, reader: KernelReader) -> None:
    """However long the loop is at work."""
    hearer, queue = Hearer(), int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    places = [tmp_path / str(number) for number in range(16)]
    for place in places:
        place.mkdir()
        reader.hear(os.fsencode(place), MASK, hearer)
    reader.announced()
    for number in range(2 * queue):
        made = places[number % len(places)] / str(number)
        made.mkdir()
        made.rmdir()
    wait_for(lambda: len(hearer.events) == 2 * queue)
    assert reader.overflows == 0


def test_what_cannot_be_watched_is_an_error(tmp_path: Path, reader: KernelReader) -> None:
    """With the kernel's own cause."""
    with pytest.raises(FileNotFoundError):
        reader.hear(os.fsencode(tmp_path / "nothing"), MASK, Hearer())
