"""What one workspace may have of the loop's time, with time passed in."""

from __future__ import annotations

from agentic_watch.daemon.pending import TimeShares

ONE, OTHER = ("root", "org/repo/one"), ("root", "org/repo/other")


def looks_within(seconds: float, cost: float) -> tuple[int, float]:
    """How often a workspace is looked at that always has news, and how long that takes in all."""
    shares, now, count, spent = TimeShares(), 0.0, 0, 0.0
    while now < seconds:
        shares.charge(ONE, cost, now)
        count, spent = count + 1, spent + cost
        now += max(cost, shares.of(ONE, now)[0], 0.001)
    return count, spent


def test_who_asks_without_end_gets_a_small_part() -> None:
    """Small statuses every few seconds, large ones a few times a minute."""
    small, _ = looks_within(100.0, 0.0004)
    assert 50 <= small <= 70
    large, spent = looks_within(160.0, 0.03)
    assert 12 <= large <= 18
    assert spent <= 0.6


def test_nobody_waits_for_longer_than_sixteen_seconds() -> None:
    """However long one look took."""
    shares = TimeShares()
    for _ in range(10):
        shares.charge(ONE, 30.0, 100.0)
    assert 15.0 < shares.of(ONE, 100.0)[0] <= 16.001
    assert shares.of(ONE, 117.0)[0] == 0.0


def test_who_had_a_look_lately_goes_after_those_that_had_none() -> None:
    """A look now and then is modest; many, or large ones, are not for a while; and it concerns nobody else."""
    shares = TimeShares()
    for number in range(4):
        assert shares.of(ONE, 5.0 * number)[1]
        shares.charge(ONE, 0.0004, 5.0 * number)
    for _ in range(100):
        shares.charge(ONE, 0.0004, 20.0)
    assert not shares.of(ONE, 60.0)[1]
    assert shares.of(OTHER, 60.0)[1]
    assert shares.of(ONE, 140.0)[1]


def test_all_that_had_much_get_a_fifth_together() -> None:
    """However many they are."""
    shares = TimeShares()
    shares.busy_had(0.005, 100.0)
    assert shares.busy_from == 100.02
    shares.busy_had(0.0, 100.01)
    assert shares.busy_from == 100.02


def test_who_had_too_many_events_goes_after_all_others_for_a_while() -> None:
    """It need not wait for a look, but has its turn with those that had much."""
    shares = TimeShares()
    shares.use_up(ONE, 100.0)
    assert not shares.of(ONE, 130.0)[1]
    assert shares.of(ONE, 100.0)[0] == 0.0
    assert shares.of(ONE, 160.0)[1]
