"""The table of `stats`: its columns, what stands in them, and which give way first on a narrow terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from agentic_watch.answers.past.costs import COST
from agentic_watch.answers.past.stats import Group
from agentic_watch.cli.amounts import cost_cell, dollars, number_cell, tokens_cell
from agentic_watch.cli.output import human_duration, on_terminal
from agentic_watch.cli.rate_text import bar, interval, percent
from agentic_watch.cli.table_layout import Column, print_columns

_BAR = 10


class _Numbers(NamedTuple):
    """A column of numbers: its header, which goes first (the highest), and a group's text. One of `costs` is there only
    where something of it is known."""

    header: str
    goes: int
    text: Callable[[Group], str]
    costs: bool = False


_NUMBERS = (
    _Numbers("DISPATCHES", 4, lambda group: f"{group.dispatches:,}"),
    _Numbers("PASSED/JUDGED", 0, lambda group: f"{group.rate.passed:,}/{group.rate.judged:,}"),
    _Numbers("RATE", 0, lambda group: percent(group.rate.value)),
    _Numbers("95 %", 5, lambda group: interval(group.rate)),
    _Numbers("", 14, lambda group: bar(group.rate.value, _BAR)),
    _Numbers("FIRST TRY", 6, lambda group: percent(group.first_try.value)),
    _Numbers("WAITING", 10, lambda group: f"{group.outcomes['waiting']:,}"),
    _Numbers("UNJUDGED", 12, lambda group: f"{group.outcomes['unjudged']:,}"),
    _Numbers("MEDIAN", 3, lambda group: human_duration(group.median_ms)),
    _Numbers("P90", 7, lambda group: human_duration(group.p90_ms)),
    _Numbers("COST", 1, lambda group: cost_cell(group.used[COST], group.dispatches), costs=True),
    _Numbers("COST/PASSED", 2, lambda group: dollars(group.per_passed), costs=True),
    _Numbers("TOKENS IN/CACHED/OUT", 8, lambda group: tokens_cell(group.used, group.dispatches), costs=True),
    _Numbers("TURNS", 11, lambda group: number_cell(group.used["turns"], group.dispatches), costs=True),
    _Numbers("FINDINGS/RUN", 9, lambda group: f"{group.findings:.1f}"),
    _Numbers("LINES/RUN", 13, lambda group: "" if group.lines is None else f"{group.lines:.0f}"),
    _Numbers("MERGED", 15, lambda group: f"{group.merged:,}"),
    _Numbers("TO MERGED", 16, lambda group: human_duration(group.merged_ms)),
)
_OF_PULL_REQUESTS: Mapping[str, int] = {"MERGED": 2, "RATE": 17, "FIRST TRY": 18, "95 %": 19}
"""A pull request has few dispatches: rates say little of one."""


def print_table(by: str, groups: Sequence[Group], total: Group) -> None:
    """The groups and all of them as one; a star is at each that is not ranked."""
    ranked = by != "pr"
    names = [f"{group.key or '(none)'}{' *' * (ranked and not group.rate.ranked)}" for group in groups]
    rows = [*groups, total]
    columns, cells = [Column(by.upper(), least=14 if ranked else 26, path=by in ("repo", "pr"))], [[*names, "all"]]
    for one in _NUMBERS:
        texts = [one.text(group) for group in rows]
        if (one.header or on_terminal()) and (any(texts) or not one.costs):
            column = Column(one.header, number=bool(one.header), goes=one.goes)
            columns.append(column if ranked else column._replace(goes=_OF_PULL_REQUESTS.get(one.header, one.goes)))
            cells.append(texts)
    print_columns(columns, list(zip(*cells, strict=True)))
