"""What one workspace may have of the loop's time, with time passed in."""

from __future__ import annotations

from agentic_watch.daemon.time_shares import TimeShares

ONE, OTHER = ("root", "org/repo/one"), ("root", "org/repo/other")


def looks_within(seconds: float, cost: float) -> tuple[int, float]:
    """How often a workspace is looked at that always has news, and how long that takes in all."""
    shares, now, count, spent = TimeShares(), 0.0, 0, 0.0
    while now < seconds:
        shares.charge(ONE, cost, now)
        count, spent = count + 1, spent + cost
        now += max(cost, shares.wait(ONE, now), 0.001)
    return count, spent


def test_who_asks_without_end_gets_a_hundredth() -> None:
    """Small statuses twice a second, large ones every few seconds."""
    small, _ = looks_within(100.0, 0.0004)
    assert 200 <= small <= 230
    _, spent = looks_within(100.0, 0.03)
    assert 1.0 <= spent <= 1.2


def test_nobody_waits_for_longer_than_sixteen_seconds() -> None:
    """However long one look took."""
    shares = TimeShares()
    for _ in range(10):
        shares.charge(ONE, 30.0, 100.0)
    assert 15.0 < shares.wait(ONE, 100.0) <= 16.001
    assert shares.wait(ONE, 117.0) == 0.0


def test_a_dispatch_that_runs_and_ends_is_modest_throughout() -> None:
    """A look at each of its changes and at its commits is no much of it; and it concerns nobody else."""
    shares = TimeShares()
    for number in range(4):
        assert shares.is_modest(ONE, number / 10)
        shares.charge(ONE, 0.0004, number / 10)
    for _ in range(100):
        shares.charge(ONE, 0.0004, 1.0)
    assert not shares.is_modest(ONE, 1.0)
    assert shares.is_modest(OTHER, 1.0)
    assert shares.is_modest(ONE, 61.0)
