"""Rates, shares and series as text, and as small pictures of block characters for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from agentic_watch.answers.past.outcomes import Rate

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"


def percent(share: float | None) -> str:
    """A share in whole percent; "" when it is not known."""
    return "" if share is None else f"{share * 100:.0f} %"


def interval(rate: Rate) -> str:
    """The range in which the true rate lies in 95 of 100 cases, in whole percent."""
    bounds = rate.interval()
    return f"{bounds[0] * 100:.0f}–{bounds[1] * 100:.0f} %" if bounds else ""


def told(rate: Rate) -> str:
    """A rate with both its numbers and its interval."""
    if rate.value is None:
        return "none judged"
    return f"{rate.value * 100:.0f} % ({rate.passed:,} of {rate.judged:,}, {interval(rate)})"


def bar(share: float | None, columns: int) -> str:
    """A bar of at most so many columns, as long as the share (0 to 1) says; "" for None."""
    if share is None:
        return ""
    whole, eighths = divmod(round(share * columns * 8), 8)
    return "█" * whole + (_EIGHTHS[eighths] if eighths else "")


def sparkline(values: Sequence[int], columns: int) -> str:
    """One character a value, the newest ones where there are more than columns; the highest is a full block."""
    shown = values[-columns:]
    most = max(shown, default=0)
    return "".join(" " if not value else _HEIGHTS[min(7, value * 8 // (most + 1))] for value in shown)
