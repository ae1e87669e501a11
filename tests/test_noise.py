"""Which directories are too loud: counted by watch, a second at a time, with time passed in."""

from __future__ import annotations

import pytest
from watchdog.observers.inotify_c import InotifyConstants, WatchDescriptor

from agentic_watch.watch.noise import Noise, Silence

CLOSED, MADE = int(InotifyConstants.IN_CLOSE_WRITE), int(InotifyConstants.IN_CREATE | InotifyConstants.IN_ISDIR)


def events(
    wd: int, count: int, mask: int = CLOSED, name: bytes = b"log"
) -> list[tuple[WatchDescriptor, int, int, bytes]]:
    return [(WatchDescriptor(wd), mask, 0, name)] * count


@pytest.mark.parametrize(
    ("mask", "name", "bearable"),
    [(CLOSED, b"log", 1_999), (CLOSED, b"status.json", 249), (MADE, b"task", 7_999)],
)
def test_a_directory_is_loud_beyond_its_limit(mask: int, name: bytes, bearable: int) -> None:
    """A status costs more than a file, and thousands of directories may honestly be made in one."""
    noise = Noise(frozenset({b"status.json"}))
    assert noise.count(events(7, bearable, mask, name), 100.0) == []
    assert noise.count(events(7, 1, mask, name), 100.9) == [7]
    assert noise.count(events(7, 5_000, mask, name), 100.9) == []  # said once
    assert noise.count(events(7, bearable, mask, name), 101.1) == []  # the next second


def test_an_agent_that_storms_in_many_directories_is_loud_in_each() -> None:
    """Each may be bearable by itself; those that do next to nothing are left alone."""
    noise = Noise(frozenset())
    assert noise.count(events(1, 50), 100.0) == []
    found = [wd for number in range(2, 30) for wd in noise.count(events(number, 1_500), 100.1)]
    assert set(found) <= set(range(2, 30))
    assert len(found) > 10
    assert noise.count(events(1, 50), 100.2) == []


def test_who_does_not_calm_down_rests_ever_longer() -> None:
    """10 seconds, then twice as long, five minutes at most."""
    silence = Silence.beginning(0.0, None)
    rests = [silence.rest]
    for _ in range(7):
        silence = Silence.beginning(0.0, silence)
        rests.append(silence.rest)
    assert rests == [10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]
