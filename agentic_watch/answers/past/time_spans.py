"""Parses a user's times (`2h`, `today`, `2026-04-14`) into the history's format."""

from __future__ import annotations

import calendar
import re
import time
from datetime import date
from typing import NamedTuple

from agentic_watch.config.value_checks import SPAN, span_seconds
from agentic_watch.workspace import instant
from agentic_watch.workspace.instant import Instant

EXPECTED = "a span (90m, 12h, 7d, 2w, 6mo), today, yesterday, week, a date (2026-04-14) or an RFC 3339 time"

_LENGTH = re.compile(SPAN)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_WEEK = 7
_NS = 10**9


class Clock(NamedTuple):
    """The reference time: `now` in seconds since the epoch; days are in UTC if `utc`, else local."""

    now: float
    utc: bool = False

    def today(self) -> date:
        """The current day."""
        parts = time.gmtime(self.now) if self.utc else time.localtime(self.now)
        return date(parts.tm_year, parts.tm_mon, parts.tm_mday)

    def midnight(self, ordinal: int) -> str:
        """Start of the day with this ordinal, in the format of `updated_utc`. Raises ValueError, OverflowError."""
        day = date.fromordinal(ordinal)
        parts = (day.year, day.month, day.day, 0, 0, 0, 0, 0, -1)
        return at(calendar.timegm(parts) if self.utc else time.mktime(parts))

    def ago(self, seconds: int) -> str:
        """The time `seconds` ago, in the format of `updated_utc`. Raises ValueError, OverflowError."""
        return at(int(self.now) - seconds)


def at(seconds: float) -> str:
    """Convert seconds since the epoch to the format of `updated_utc`. Raises ValueError, OverflowError."""
    return Instant("", int(seconds) * _NS).utc()


def seconds_of(utc: str) -> int:
    """Whole seconds since the epoch of a time in the format of `updated_utc`."""
    return calendar.timegm(time.strptime(utc[:19], "%Y-%m-%dT%H:%M:%S"))


def local(utc: str) -> time.struct_time | None:
    """Local time of a time in the format of `updated_utc`; None in the first and last supported year, which may be out
    of range."""
    return None if utc.startswith(("0001", "9999")) else time.localtime(seconds_of(utc))


def point(text: str, clock: Clock, *, end: bool = False) -> str:
    """Parse `text` into the format of `updated_utc`; a day or week means its start, or with `end` its end.

    Raises ValueError or OverflowError for other texts than EXPECTED. A week begins on Monday.
    """
    if _LENGTH.fullmatch(text):
        return clock.ago(span_seconds(text))
    first, days = _days(text, clock.today())
    if days:
        return clock.midnight(first + (days if end else 0))
    return instant.parse(text).utc()


def _days(text: str, today: date) -> tuple[int, int]:
    """The ordinal of the first day and the number of days; (0, 0) when the text is no day."""
    number = today.toordinal()
    if text == "today":
        return number, 1
    if text == "yesterday":
        return number - 1, 1
    if text == "week":
        return number - today.weekday(), _WEEK
    return (date.fromisoformat(text).toordinal(), 1) if _DATE.fullmatch(text) else (0, 0)
