"""Formats values: durations, money and tokens in few characters; rates, bars and sparklines; times, local with zone on
a terminal, else UTC.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence

from agentic_watch import counted
from agentic_watch.answers.past import time_spans
from agentic_watch.answers.past.costs import COST, Total
from agentic_watch.answers.past.outcomes import Rate

_MICRO = 1_000_000
_DIME = _MICRO // 10
_SUFFIXES = ("", "k", "M", "G", "T", "P", "E")
_KINDS = (
    ("input_tokens", "in"),
    ("cache_read_tokens", "cached"),
    ("cache_write_tokens", "into cache"),
    ("output_tokens", "out"),
)
_SHOWN = ("input_tokens", "cache_read_tokens", "output_tokens")


def shorten(text: str, width: int) -> str:
    """The first line of a text, at most `width` characters."""
    first = text.strip().partition("\n")[0]
    return first if len(first) <= width else first[: width - 1] + "…"


def human_duration(milliseconds: int | None) -> str:
    """A duration in its two largest units (`2h05m`, `3m09s`, `4.2s`); "" when unknown."""
    if milliseconds is None:
        return ""
    seconds = milliseconds // 1000
    if seconds < 10:
        return f"{milliseconds // 100 / 10:.1f}s"
    for unit, size, smaller in (("d", 86_400, "h"), ("h", 3600, "m"), ("m", 60, "s")):
        if seconds >= size:
            return f"{seconds // size}{unit}{seconds % size // _SECONDS[smaller]:02}{smaller}"
    return f"{seconds}s"


_SECONDS = {"h": 3600, "m": 60, "s": 1}


def short(number: int) -> str:
    """A number with three digits and a suffix: 999, 9.99k, 15.0k, 1.25M; over 1e21 as 4.2e30."""
    value, exponent = float(number), 0
    if value < 1000:
        return str(number)
    while value >= 999.5 and exponent < len(_SUFFIXES) - 1:
        value, exponent = value / 1000, exponent + 1
    if value >= 999.5:
        return f"{float(number):.1e}"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}{_SUFFIXES[exponent]}"


def dollars(micro: int | None) -> str:
    """Millionths of a dollar as $41.20, $1,234.50, $0.0494 (below $0.10), $1.25M (from a million); "" when unknown."""
    if micro is None:
        return ""
    if micro >= _MICRO * _MICRO:
        return f"${short(micro // _MICRO)}"
    if 0 < micro < 100:
        return "<$0.0001"
    digits = 4 if 0 < micro < _DIME else 2
    return f"${micro / _MICRO:,.{digits}f}"


def of_how_many(total: Total, dispatches: int) -> str:
    """For how many dispatches a sum is known, in a table: (98/103)."""
    return f"({total.known:,}/{dispatches:,})"


def cost_cell(cost: Total, dispatches: int) -> str:
    """A cost in a table; "" when unknown."""
    return f"{dollars(cost.value)} {of_how_many(cost, dispatches)}" if cost.known else ""


def number_cell(total: Total, dispatches: int) -> str:
    """A sum in a table; "" when unknown."""
    return f"{short(total.sum)} {of_how_many(total, dispatches)}" if total.known else ""


def tokens_cell(used: Mapping[str, Total], dispatches: int) -> str:
    """Tokens (input, cached, output) in a table; "" when unknown."""
    shown = [used[kind] for kind in _SHOWN]
    if not any(one.known for one in shown):
        return ""
    parted = "/".join("?" if one.value is None else short(one.value) for one in shown)
    return f"{parted} ({_known(shown)}/{dispatches:,})"


def tokens_text(used: Mapping[str, Total], dispatches: int) -> str:
    """Tokens in a sentence: 1.25M in, 15.0M cached, 170k out, 98 of 103 known."""
    shown = [(used[kind], word) for kind, word in zip(_SHOWN, ("in", "cached", "out"), strict=True) if used[kind].known]
    if not shown:
        return ""
    parts = ", ".join(f"{short(one.sum)} {word}" for one, word in shown)
    return f"{parts}, {_known([one for one, _ in shown])} of {dispatches:,} known"


def _known(sums: list[Total]) -> str:
    """For how many dispatches sums are known; as a range if that differs."""
    least, most = min(one.known for one in sums), max(one.known for one in sums)
    return f"{most:,}" if least == most else f"{least:,}–{most:,}"


def cost_text(cost: Total, dispatches: int) -> str:
    """A cost in a sentence: $41.20, 98 of 103 known; "" when unknown."""
    return f"{dollars(cost.value)}, {cost.known:,} of {dispatches:,} known" if cost.known else ""


def usage_text(row: Mapping[str, int | None]) -> str:
    """Tokens and cost of one dispatch; "" when unknown."""
    known = [f"{value:,} {{}}{word}" for kind, word in _KINDS if (value := row.get(kind)) is not None]
    tokens = ", ".join(known).replace("{}", "tokens ", 1).replace("{}", "")
    turns = row.get("turns")
    of_turns = "" if turns is None else counted(turns, "turn")
    return ", ".join(filter(None, (tokens, of_turns, dollars(row.get(COST)))))


_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"


def percent(share: float | None) -> str:
    """A share in whole percent; "" when unknown."""
    return "" if share is None else f"{share * 100:.0f} %"


def interval(rate: Rate) -> str:
    """The 95 % confidence interval in whole percent."""
    bounds = rate.interval()
    return f"{bounds[0] * 100:.0f}–{bounds[1] * 100:.0f} %" if bounds else ""


def rate_text(rate: Rate) -> str:
    """A rate with both its numbers and its interval."""
    if rate.value is None:
        return "none judged"
    return f"{rate.value * 100:.0f} % ({rate.passed:,} of {rate.judged:,}, {interval(rate)})"


def bar(share: float | None, columns: int) -> str:
    """A bar of up to `columns`, proportional to the share (0 to 1); "" for None."""
    if share is None:
        return ""
    whole, eighths = divmod(round(share * columns * 8), 8)
    return "█" * whole + (_EIGHTHS[eighths] if eighths else "")


def sparkline(values: Sequence[int], columns: int) -> str:
    """One character per value, the newest ones if there are more than `columns`; the maximum is a full block."""
    shown = values[-columns:]
    most = max(shown, default=0)
    return "".join(" " if not value else _HEIGHTS[min(7, value * 8 // (most + 1))] for value in shown)


def time_column(header: str, times: Sequence[str | None], *, utc: bool) -> tuple[str, list[str]]:
    """Header and cells of a column of times; None and "" become empty cells.

    On a terminal they are local, and the header names the zone; if there are both summer and winter times, each cell
    does.
    """
    if utc or not sys.stdout.isatty():
        return f"{header} (UTC)", [_utc(text) for text in times]
    known = [time_spans.local(text) if text else None for text in times]
    zones = {parts.tm_zone for parts in known if parts}
    cells = [_local(parts) if parts else _utc(text) for parts, text in zip(known, times, strict=True)]
    if len(zones) <= 1:
        return f"{header} ({''.join(zones)})" if zones else header, cells
    return header, [f"{cell} {parts.tm_zone}" if parts else cell for cell, parts in zip(cells, known, strict=True)]


def time_text(utc: str, *, as_utc: bool) -> str:
    """A single time with its zone; "" for ""."""
    parts = time_spans.local(utc) if utc and not as_utc and sys.stdout.isatty() else None
    return f"{_local(parts)} {parts.tm_zone}" if parts else _utc(utc)


def _utc(text: str | None) -> str:
    return f"{text[:19]}Z" if text else ""


def _local(parts: time.struct_time) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", parts)
