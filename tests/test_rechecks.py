"""Directories that are looked at again by the clock, with time passed in."""

from __future__ import annotations

from agentic_watch.watch.rechecks import Rechecks

PATH = "org/repo/task"


def pauses(rechecks: Rechecks, now: float, count: int) -> list[float]:
    """After how long one is looked at again that needs it at once each time."""
    found = []
    for _ in range(count):
        rechecks.add(PATH, now, throttled=True)
        wait = rechecks.until_next(1000.0, now)
        assert rechecks.take(now + wait - 0.01) == {}
        now += wait
        assert list(rechecks.take(now + 0.001)) == [PATH]
        found.append(wait)
    return found


def test_who_does_not_settle_is_looked_at_ever_later() -> None:
    """1, 2, 4, 8, at most 16 seconds; after a quiet minute one second again."""
    rechecks = Rechecks()
    found = pauses(rechecks, 0.0, 7)
    for pause, longest in zip(found, [1.0, 2.0, 4.0, 8.0, 16.0, 16.0, 16.0], strict=True):
        assert 0.5 * longest <= pause <= longest
    assert rechecks.settled(sum(found) + 59.0) == []
    assert rechecks.settled(sum(found) + 60.1) == [PATH]
    assert max(pauses(rechecks, 200.0, 2)) <= 2.0


def test_what_was_refused_settles_without_a_word() -> None:
    """Only a throttled one was named before."""
    rechecks = Rechecks()
    rechecks.add(PATH, 0.0)
    assert list(rechecks.take(1.0)) == [PATH]
    assert rechecks.settled(100.0) == []


def test_what_is_looked_into_meanwhile_waits_no_longer() -> None:
    """An event came, and the look succeeded."""
    rechecks = Rechecks()
    rechecks.add(PATH, 0.0)
    rechecks.add("org/repo/other", 0.0)
    assert rechecks.below("org/repo") == {"task", "other"}
    assert rechecks.below("org") == set()
    rechecks.discard(PATH)
    assert PATH not in rechecks
    assert list(rechecks.take(1.0)) == ["org/repo/other"]


def test_an_agent_that_makes_thousands_of_them_makes_nothing_grow() -> None:
    """Beyond the table they are found by the scan."""
    rechecks = Rechecks()
    for number in range(10_000):
        rechecks.add(f"task-{number}", 0.0)
    looked_at = 0
    while taken := rechecks.take(1.0):
        assert len(taken) <= 16  # and then others have their turn
        looked_at += len(taken)
    assert looked_at == 4096


def test_a_throttled_one_is_looked_at_again_however_many_others_wait() -> None:
    """It has no watch until then, and the thousands may be another agent's."""
    rechecks = Rechecks()
    for number in range(5_000):
        rechecks.add(f"task-{number}", 0.0)
    rechecks.add(PATH, 0.0, throttled=True)
    assert PATH in rechecks


def test_those_that_were_throttled_together_do_not_come_back_together() -> None:
    """Each has a time of its own."""
    rechecks = Rechecks()
    for number in range(1000):
        rechecks.add(f"task-{number}", 0.0, throttled=True)
    assert rechecks.take(0.499) == {}
    early = 0
    while taken := rechecks.take(0.75):
        early += len(taken)
    assert 400 < early < 600
