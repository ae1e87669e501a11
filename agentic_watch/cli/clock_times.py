"""Times as people read them: local with their zone on a terminal, else UTC as RFC 3339."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from agentic_watch.answers.spans import seconds_of


def column(header: str, times: Sequence[str | None], *, utc: bool) -> tuple[str, list[str]]:
    """The header and the cells of a column of such times; None and "" become empty cells.

    On a terminal they are local, and the header names the zone; where summer and winter meet, each cell does.
    """
    if utc or not sys.stdout.isatty():
        return f"{header} (UTC)", [f"{text[:19]}Z" if text else "" for text in times]
    known = [time.localtime(seconds_of(text)) if text else None for text in times]
    zones = {parts.tm_zone for parts in known if parts}
    if len(zones) <= 1:
        return f"{header} ({''.join(zones)})" if zones else header, [_text(parts) for parts in known]
    return header, [f"{_text(parts)} {parts.tm_zone}" if parts else "" for parts in known]


def one(utc: str, *, as_utc: bool) -> str:
    """A single time with its zone; "" for ""."""
    if as_utc or not utc or not sys.stdout.isatty():
        return f"{utc[:19]}Z" if utc else ""
    parts = time.localtime(seconds_of(utc))
    return f"{_text(parts)} {parts.tm_zone}"


def _text(parts: time.struct_time | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", parts) if parts else ""
