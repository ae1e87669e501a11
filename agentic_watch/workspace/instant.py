"""An instant with nanoseconds, and its original text.

`datetime` keeps microseconds only; status files have nanoseconds, and two commits 1 ns apart are distinct. Format: RFC
3339 section 5.6, at most nine fractional digits.
"""

from __future__ import annotations

import functools
import re
import time
from datetime import date
from typing import NamedTuple

ZERO_TEXT = "0001-01-01T00:00:00Z"
"""Go's zero time, which means unset."""

_SECOND = 1_000_000_000
_EPOCH = date(1970, 1, 1).toordinal()
_MAX_TEXT = 64
_PATTERN = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


class Instant(NamedTuple):
    """A point in time: `text` as it was written, `ns` nanoseconds since 1970-01-01T00:00:00Z."""

    text: str
    ns: int

    @property
    def is_zero(self) -> bool:
        """Whether this is Go's zero time."""
        return self.ns == ZERO.ns

    def utc(self) -> str:
        """UTC with nine fractional digits and `Z`: text order is time order."""
        return _utc(self.ns)

    def utc_if_set(self) -> str | None:
        """As `utc`; None for Go's zero time."""
        return None if self.ns == ZERO.ns else _utc(self.ns)


@functools.lru_cache(maxsize=256)  # called several times per commit
def _utc(ns: int) -> str:
    seconds, fraction = divmod(ns, _SECOND)
    days, second = divmod(seconds, 86_400)
    day = date.fromordinal(days + _EPOCH).isoformat()
    return f"{day}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{fraction:09}Z"


def parse(text: str) -> Instant:
    """Read an RFC 3339 time. Raises ValueError with the cause for anything else.

    The years are 1 to 9999, in UTC too; a leap second is refused, as Go refuses it.
    """
    match = _PATTERN.fullmatch(text) if len(text) <= _MAX_TEXT else None
    if match is None:
        raise ValueError("is not an RFC 3339 time")
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    fraction, sign, off_hour, off_minute = match.group(7, 8, 9, 10)
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError("is not a time of day")
    try:
        days = date(year, month, day).toordinal() - _EPOCH
    except ValueError:
        raise ValueError("is not a date of the years 1 to 9999") from None
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second
    if sign:
        if int(off_hour) > 23 or int(off_minute) > 59:
            raise ValueError("has an impossible offset")
        offset = int(off_hour) * 3600 + int(off_minute) * 60
        seconds += -offset if sign == "+" else offset
    if not 1 <= seconds // 86_400 + _EPOCH <= date.max.toordinal():
        raise ValueError("is outside the years 1 to 9999 in UTC")
    return Instant(text, seconds * _SECOND + int((fraction or "").ljust(9, "0")))


ZERO = parse(ZERO_TEXT)


def at(ns: int) -> Instant:
    """The instant `ns` nanoseconds since the epoch, in UTC as Go's RFC3339Nano writes it: no trailing zeros."""
    whole, _, fraction = Instant("", ns).utc().removesuffix("Z").partition(".")
    fraction = fraction.rstrip("0")
    return Instant(f"{whole}.{fraction}Z" if fraction else f"{whole}Z", ns)


def now_text(seconds: float | None = None) -> str:
    """The time now, or `seconds` since the epoch, in UTC and whole seconds: `2026-04-14T11:17:08Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def stamp(seconds: float | None = None) -> str:
    """The time for a file name: `20260414T111708Z`."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
