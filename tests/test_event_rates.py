"""Which directories have too many events: weighed by watch, a second at a time, with time passed in."""

from __future__ import annotations

from collections import Counter

import pytest
from watchdog.observers.inotify_c import InotifyConstants, WatchDescriptor

from agentic_watch.watch.inotify_reader import Event, EventRates

CLOSED, MADE = int(InotifyConstants.IN_CLOSE_WRITE), int(InotifyConstants.IN_CREATE | InotifyConstants.IN_ISDIR)
STATUS = b"status.json"


def events(wds: range | int, count: int, mask: int = CLOSED, name: bytes = b"log") -> list[tuple[Event, int]]:
    """So many equal events of each of these watches, as they are read together."""
    numbers = wds if isinstance(wds, range) else [wds]
    return list(Counter({(WatchDescriptor(wd), mask, name): count for wd in numbers}).items())


@pytest.mark.parametrize(
    ("mask", "name", "bearable"),
    [(CLOSED, b"log", 1_999), (CLOSED, STATUS, 49), (MADE, b"task", 7_999)],
)
def test_one_directory_has_a_limit_a_second(mask: int, name: bytes, bearable: int) -> None:
    """A status costs more than a file, and thousands of directories may honestly be made in one."""
    rates = EventRates(frozenset({STATUS}))
    assert rates.count(events(7, bearable, mask, name), 100.0) == []
    assert rates.count(events(7, 1, mask, name), 100.9) == [7]
    assert rates.count(events(7, bearable, mask, name), 101.1) == []  # the next second


def test_an_agent_that_storms_in_many_directories_meets_a_limit_in_each() -> None:
    """Each may be bearable by itself; those that finish at the same time are left alone."""
    rates = EventRates(frozenset({STATUS}))
    assert rates.count(events(range(2, 1002), 20, name=STATUS), 100.0) == list(range(2, 1002))
    assert rates.count(events(1, 5, name=STATUS), 100.1) == []  # a status, a report and a marker of another one
    assert rates.count(events(1, 12), 100.2) == []
    assert rates.count(events(1, 40, name=STATUS), 101.2) == []


def test_thousands_that_finish_in_one_second_keep_their_watches() -> None:
    """However much that is together."""
    rates = EventRates(frozenset({STATUS}))
    for number in range(2_500):
        assert rates.count(events(number, 5, name=STATUS), 100.0) == []
        assert rates.count(events(number, 12), 100.1) == []


def test_the_more_there_is_of_all_the_less_one_directory_may_have() -> None:
    """From 2,000 to 500 to 256."""
    rates = EventRates(frozenset({STATUS}))
    assert rates.count(events(range(100), 200), 100.0) == []
    assert rates.count(events(300, 1_999), 100.1) == []
    assert rates.count(events(range(100, 200), 40), 100.1) == []
    assert rates.count(events(301, 499), 100.2) == []
    assert rates.count(events(302, 500), 100.2) == [302]
    assert rates.count(events(range(400, 700), 250), 100.2) == []
    assert rates.count(events(303, 255), 100.3) == []
    assert rates.count(events(304, 256), 100.3) == [304]
