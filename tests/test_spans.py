"""What a user types for a time, as the text that the history is compared with."""

import pytest

from agentic_watch.answers.past.time_spans import Clock, point
from agentic_watch.config.value_checks import span_seconds

NOW = 1_776_165_428.9  # Tuesday 2026-04-14T11:17:08.9Z


@pytest.mark.parametrize(
    ("text", "end", "expected"),
    [
        ("2026-04-14", False, "2026-04-14T00:00:00.000000000Z"),
        ("2026-04-14", True, "2026-04-15T00:00:00.000000000Z"),
        ("2026-04-14T10:00:00.5+02:00", True, "2026-04-14T08:00:00.500000000Z"),
        ("90m", False, "2026-04-14T09:47:08.000000000Z"),
        ("12h", True, "2026-04-13T23:17:08.000000000Z"),
        ("7d", False, "2026-04-07T11:17:08.000000000Z"),
        ("2w", False, "2026-03-31T11:17:08.000000000Z"),
        ("today", False, "2026-04-14T00:00:00.000000000Z"),
        ("today", True, "2026-04-15T00:00:00.000000000Z"),
        ("yesterday", False, "2026-04-13T00:00:00.000000000Z"),
        ("yesterday", True, "2026-04-14T00:00:00.000000000Z"),
        ("week", False, "2026-04-13T00:00:00.000000000Z"),
        ("week", True, "2026-04-20T00:00:00.000000000Z"),
    ],
)
def test_points_in_time(text: str, end: bool, expected: str) -> None:
    """A time, a date, a word and a span become the text that `updated_utc` is compared with."""
    assert point(text, Clock(NOW, utc=True), end=end) == expected


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("text", "utc", "expected"),
    [
        ("today", False, "2026-04-13T22:00:00.000000000Z"),
        ("today", True, "2026-04-14T00:00:00.000000000Z"),
        ("2026-01-01", False, "2025-12-31T23:00:00.000000000Z"),
        ("7d", False, "2026-04-07T11:17:08.000000000Z"),
    ],
)
def test_days_are_those_of_the_host_unless_utc_is_asked_for(text: str, utc: bool, expected: str) -> None:
    """A day begins at the host's midnight, in winter at winter's."""
    assert point(text, Clock(NOW, utc=utc)) == expected


@pytest.mark.usefixtures("berlin")
def test_a_day_is_the_local_day_of_the_clock() -> None:
    """An hour before midnight UTC it is tomorrow already in Berlin."""
    late = Clock(1_776_207_600.0)  # 2026-04-14T23:00:00Z
    assert point("today", late) == "2026-04-14T22:00:00.000000000Z"


@pytest.mark.parametrize("text", ["", "soon", "2026-02-30", "999999999w", "1y", "Today", "-2h", "0001-01-00"])
def test_what_means_no_time(text: str) -> None:
    """Anything else is refused, also what lies before the year 1."""
    with pytest.raises((ValueError, OverflowError)):
        point(text, Clock(NOW))


def test_lengths() -> None:
    """A span has a length in seconds; a length of nothing is none."""
    assert [span_seconds(text) for text in ("90m", "2h", "14d", "1w")] == [5400, 7200, 1_209_600, 604_800]
    for text in ("0d", "today", "2026-04-14"):
        with pytest.raises(ValueError, match="not a span"):
            span_seconds(text)
