"""Which directories have too many events: weighed by watch, a second at a time, with time passed in."""

from __future__ import annotations

from collections import Counter

import pytest
from watchdog.observers.inotify_c import InotifyConstants, WatchDescriptor

from agentic_watch.watch.event_rates import Event, EventRates

CLOSED, MADE = int(InotifyConstants.IN_CLOSE_WRITE), int(InotifyConstants.IN_CREATE | InotifyConstants.IN_ISDIR)
STATUS = b"status.json"


def events(wds: range | int, count: int, mask: int = CLOSED, name: bytes = b"log") -> list[tuple[Event, int]]:
    """So many equal events of each of these watches, as they are read together."""
    numbers = wds if isinstance(wds, range) else [wds]
    return list(Counter({(WatchDescriptor(wd), mask, name): count for wd in numbers}).items())


@pytest.mark.parametrize(
    ("mask", "name", "bearable"),
    [(CLOSED, b"log", 1_999), (CLOSED, STATUS, 249), (MADE, b"task", 7_999)],
)
def test_one_directory_has_a_limit_a_second(mask: int, name: bytes, bearable: int) -> None:
    """A status costs more than a file, and thousands of directories may honestly be made in one."""
    rates = EventRates(frozenset({STATUS}))
    assert rates.count(events(7, bearable, mask, name), 100.0) == []
    assert rates.count(events(7, 1, mask, name), 100.9) == [7]
    assert rates.count(events(7, bearable, mask, name), 101.1) == []  # the next second


def test_an_agent_that_storms_in_many_directories_meets_a_limit_in_each() -> None:
    """Each may be bearable by itself; those that do next to nothing are left alone."""
    rates = EventRates(frozenset({STATUS}))
    assert rates.count(events(1, 2, name=STATUS), 100.0) == []
    found = rates.count(events(range(2, 1002), 20, name=STATUS), 100.1)
    assert len(found) == 1000
    assert rates.count(events(1, 1), 100.2) == [1]  # 20,000 finishes in one second: nobody is spared
    assert rates.count(events(1, 50), 101.2) == []


def test_the_more_there_is_of_all_the_less_one_directory_may_have() -> None:
    """From 2,000 to 200 to 16."""
    rates = EventRates(frozenset({STATUS}))
    assert rates.count(events(range(300), 60), 100.0) == []
    assert rates.count(events(300, 1_999), 100.1) == []
    assert rates.count(events(301, 199), 100.1) == []
    assert rates.count(events(302, 201), 100.1) == [302]
    assert rates.count(events(range(400, 1400), 90), 100.2) != []
    assert rates.count(events(303, 15), 100.3) == []
    assert rates.count(events(304, 16), 100.3) == [304]
