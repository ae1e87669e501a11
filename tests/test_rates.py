"""Shares and percentiles against numbers worked out elsewhere."""

import statistics

import pytest

from agentic_watch.answers.past.outcomes import Outcomes, Rate, from_config, median, percentile
from agentic_watch.config import Answers


@pytest.mark.parametrize(
    ("passed", "judged", "low", "high"),
    [(8, 10, 0.4901625, 0.9433178), (0, 10, 0.0, 0.2775328), (10, 10, 0.7224672, 1.0), (81, 263, 0.2552980, 0.3661600)],
)
def test_wilson_interval(passed: int, judged: int, low: float, high: float) -> None:
    """The interval is Wilson's (the last case is the one of Newcombe 1998, table I)."""
    interval = Rate(passed, judged).interval()
    assert interval == pytest.approx((low, high), abs=2e-4)


def test_too_few_are_not_ranked() -> None:
    """Below twenty judged nothing is said to differ; nothing judged is no rate at all."""
    assert Rate(0, 0).value is None
    assert Rate(0, 0).interval() is None
    assert not Rate(19, 19).differs(Rate(0, 100))
    assert Rate(20, 20).differs(Rate(0, 100))
    assert not Rate(50, 100).differs(Rate(55, 100))


def test_percentiles() -> None:
    """The nearest rank: an odd median is the middle one, p90 of a hundred is the ninetieth."""
    assert percentile([], 50) is None
    assert percentile([7], 90) == 7
    values = list(range(1, 102))
    assert median(values) == statistics.median(values)
    assert (median([1, 3, 6, 9]), median([])) == (4, None)
    assert percentile(list(range(1, 101)), 90) == 90


def test_outcomes() -> None:
    """The known statuses mean what they mean everywhere; those of another dispatcher what the configuration says."""
    known = Outcomes()
    assert [known.of(status) for status in ("merged", "rejected", "blocked", "shipped")] == [
        "passed",
        "failed",
        "waiting",
        "unjudged",
    ]
    here = from_config(Answers(passed=("shipped", "odd"), failed=("odd", "blocked")))
    assert [here.of(status) for status in ("shipped", "odd", "blocked")] == ["passed", "failed", "failed"]
    assert here.statuses("failed") == ("blocked", "failed", "odd", "rejected")
