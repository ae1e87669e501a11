"""Instants: RFC 3339 to the nanosecond, refused when not one, UTC text whose order is time order."""

from datetime import UTC, datetime, timedelta

import pytest

from agentic_watch.workspace.instant import ZERO, ZERO_TEXT, now_text, parse, stamp


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-04-14T11:17:08Z", "2026-04-14T11:17:08.000000000Z"),
        ("2026-04-14T11:17:08.1Z", "2026-04-14T11:17:08.100000000Z"),
        ("2026-04-14T11:17:08.123456789+02:00", "2026-04-14T09:17:08.123456789Z"),
        ("2026-01-01T00:30:00+05:45", "2025-12-31T18:45:00.000000000Z"),
        ("2025-12-31T23:30:00-07:30", "2026-01-01T07:00:00.000000000Z"),
        ("2024-02-29T12:00:00-00:00", "2024-02-29T12:00:00.000000000Z"),
        ("1969-12-31T23:59:59.999999999Z", "1969-12-31T23:59:59.999999999Z"),
        (ZERO_TEXT, "0001-01-01T00:00:00.000000000Z"),
        ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
    ],
)
def test_the_utc_text_is_the_instant(text: str, utc: str) -> None:
    """Any offset and any fraction becomes UTC with nine digits; the text as written is kept."""
    instant = parse(text)
    assert (instant.text, instant.utc()) == (text, utc)
    assert parse(utc).ns == instant.ns


def test_nanoseconds_agree_with_datetime() -> None:
    """Down to the microsecond, where datetime ends, the count since the epoch is datetime's."""
    for text in ("2026-04-14T11:17:08.123456+02:00", "1999-12-31T23:59:59-11:15", "0001-01-01T00:00:00+00:00"):
        since = datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)
        assert parse(text).ns == since // timedelta(microseconds=1) * 1000


def test_two_spellings_are_one_instant_and_a_nanosecond_is_another() -> None:
    """Offsets do not tell instants apart, one nanosecond does, and UTC text sorts as time does."""
    one, same = parse("2026-04-14T11:17:08.5+02:00"), parse("2026-04-14T03:47:08.500000000-05:30")
    later = parse("2026-04-14T09:17:08.500000001Z")
    assert one.ns == same.ns
    assert one.utc() == same.utc()
    assert later.ns - one.ns == 1
    assert one.utc() < later.utc() < parse("2026-04-14T09:17:09Z").utc()


def test_gos_zero_time_is_unset_in_any_spelling() -> None:
    """The zero time is recognised as an instant, not as a text."""
    assert ZERO.is_zero
    assert parse("0001-01-01T02:00:00+02:00").is_zero
    assert not parse("0001-01-01T00:00:00.000000001Z").is_zero


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-04-14",
        "2026-04-14 11:17:08Z",
        "2026-04-14T11:17:08",
        "2026-04-14T11:17Z",
        "2026-04-14T11:17:08.Z",
        "2026-04-14T11:17:08.1234567890Z",
        "2026-04-14T11:17:08Z\n",
        " 2026-04-14T11:17:08Z",
        "2026-04-14T24:00:00Z",
        "2026-04-14T11:60:00Z",
        "2016-12-31T23:59:60Z",
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2026-04-14T11:17:08+24:00",
        "2026-04-14T11:17:08+0200",
        "٢٠٢٦-04-14T11:17:08Z",
        "2026-04-14T11:17:08Z" + "0" * 10_000,
    ],
)
def test_anything_else_is_refused_with_a_cause(text: str) -> None:
    """What is no RFC 3339 time, or none of the years 1 to 9999 in UTC, is a ValueError that says why."""
    with pytest.raises(ValueError, match=r"^(is not|has an impossible offset|is outside)"):
        parse(text)


def test_the_clock_is_written_in_whole_seconds_of_utc() -> None:
    """Times of this program have the journal's form, and a file name's."""
    assert now_text(1_776_165_428.9) == "2026-04-14T11:17:08Z"
    assert stamp(1_776_165_428.9) == "20260414T111708Z"
