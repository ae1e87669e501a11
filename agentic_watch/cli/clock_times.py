"""Times as people read them: local with their zone on a terminal, else UTC as RFC 3339."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from agentic_watch.answers.past import spans


def column(header: str, times: Sequence[str | None], *, utc: bool) -> tuple[str, list[str]]:
    """The header and the cells of a column of such times; None and "" become empty cells.

    On a terminal they are local, and the header names the zone; where summer and winter meet, each cell does.
    """
    if utc or not sys.stdout.isatty():
        return f"{header} (UTC)", [_utc(text) for text in times]
    known = [spans.local(text) if text else None for text in times]
    zones = {parts.tm_zone for parts in known if parts}
    cells = [_text(parts) if parts else _utc(text) for parts, text in zip(known, times, strict=True)]
    if len(zones) <= 1:
        return f"{header} ({''.join(zones)})" if zones else header, cells
    return header, [f"{cell} {parts.tm_zone}" if parts else cell for cell, parts in zip(cells, known, strict=True)]


def one(utc: str, *, as_utc: bool) -> str:
    """A single time with its zone; "" for ""."""
    parts = spans.local(utc) if utc and not as_utc and sys.stdout.isatty() else None
    return f"{_text(parts)} {parts.tm_zone}" if parts else _utc(utc)


def _utc(text: str | None) -> str:
    return f"{text[:19]}Z" if text else ""


def _text(parts: time.struct_time) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", parts)
