"""Money and tokens as text: as exact as a reader needs, and never wide, whatever an agent reported."""

from __future__ import annotations

from collections.abc import Mapping

from agentic_watch.answers.past.costs import COST, Total

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


def short(number: int) -> str:
    """A number in at most three digits and a letter: 999, 9.99k, 15.0k, 1.25M; beyond 1e21 as 4.2e30."""
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
    """Millionths of a dollar: $41.20, $1,234.50, $0.0494 below a dime, $1.25M from a million on; "" when not known."""
    if micro is None:
        return ""
    if micro >= _MICRO * _MICRO:
        return f"${short(micro // _MICRO)}"
    if 0 < micro < 100:
        return "<$0.0001"
    digits = 4 if 0 < micro < _DIME else 2
    return f"${micro / _MICRO:,.{digits}f}"


def of_how_many(total: Total, dispatches: int) -> str:
    """How many dispatches a sum is of, as it stands behind one in a table: (98/103)."""
    return f"({total.known:,}/{dispatches:,})"


def cost_cell(cost: Total, dispatches: int) -> str:
    """A cost in a table; "" when none is known."""
    return f"{dollars(cost.value)} {of_how_many(cost, dispatches)}" if cost.known else ""


def number_cell(total: Total, dispatches: int) -> str:
    """A sum in a table; "" when nothing is known."""
    return f"{short(total.sum)} {of_how_many(total, dispatches)}" if total.known else ""


def tokens_cell(used: Mapping[str, Total], dispatches: int) -> str:
    """Tokens in, read from a cache and out, in a table; "" when none is known."""
    shown = [used[kind] for kind in _SHOWN]
    if not any(one.known for one in shown):
        return ""
    parted = "/".join("?" if one.value is None else short(one.value) for one in shown)
    return f"{parted} ({_known(shown)}/{dispatches:,})"


def told_tokens(used: Mapping[str, Total], dispatches: int) -> str:
    """The same in a sentence: 1.25M in, 15.0M cached, 170k out, 98 of 103 known."""
    shown = [(used[kind], word) for kind, word in zip(_SHOWN, ("in", "cached", "out"), strict=True) if used[kind].known]
    if not shown:
        return ""
    parts = ", ".join(f"{short(one.sum)} {word}" for one, word in shown)
    return f"{parts}, {_known([one for one, _ in shown])} of {dispatches:,} known"


def _known(sums: list[Total]) -> str:
    """Of how many dispatches sums are; the least and the most where that differs."""
    least, most = min(one.known for one in sums), max(one.known for one in sums)
    return f"{most:,}" if least == most else f"{least:,}–{most:,}"


def told_cost(cost: Total, dispatches: int) -> str:
    """A cost in a sentence: $41.20, 98 of 103 known; "" when none is known."""
    return f"{dollars(cost.value)}, {cost.known:,} of {dispatches:,} known" if cost.known else ""


def of_one(row: Mapping[str, int | None]) -> str:
    """What one dispatch used; "" when nothing is known of it."""
    known = [f"{value:,} {{}}{word}" for kind, word in _KINDS if (value := row.get(kind)) is not None]
    tokens = ", ".join(known).replace("{}", "tokens ", 1).replace("{}", "")
    turns = row.get("turns")
    counted = "" if turns is None else f"{turns:,} turn{'s' * (turns != 1)}"
    return ", ".join(filter(None, (tokens, counted, dollars(row.get(COST)))))
