"""How rows of the history look as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentic_watch.cli import clock_times
from agentic_watch.cli.amounts import dollars
from agentic_watch.cli.answer_form import Form
from agentic_watch.cli.output import human_duration, shorten
from agentic_watch.cli.table_layout import Column
from agentic_watch.history.columns import COST_COLUMN, TOKEN_COLUMNS

_TEXT_READ = 1000
_TEXT_SHOWN = 200
_LONG = ("task", "question", "report")
_TIMES = ("updated_utc", "started_utc")
_SHOWN = ("updated_utc", "status", "root", "workspace", "agent", "runs", "duration_ms", "findings_count", "task")
_COLUMNS = {
    "updated_utc": Column("UPDATED"),
    "status": Column("STATUS", least=9),
    "root": Column("ROOT", least=8, path=True, goes=4),
    "workspace": Column("WORKSPACE", least=18, path=True),
    "agent": Column("AGENT", least=11, goes=5),
    "task": Column("TASK", least=20, goes=6),
    "duration_ms": Column("DURATION", number=True, goes=7),
    "findings_count": Column("FINDINGS", number=True, goes=8),
    "runs": Column("RUN", number=True, goes=9),
    COST_COLUMN: Column("COST", number=True, goes=2),
    **{name: Column(name.removesuffix("_tokens").upper(), number=True, goes=3) for name in TOKEN_COLUMNS},
    "turns": Column("TURNS", number=True, goes=4),
}
"""How the columns that are usually shown look, and those of numbers, and in which order they give way."""


def expressions(form: Form, named: Sequence[str]) -> Sequence[str]:
    """What is asked for: for a table the beginning of what is long, else all of it."""
    if form.name != "table":
        return [f"d.{column}" for column in named] or ["d.*"]
    # A task can be a megabyte; a line of it is shown.
    return [_part(column) if column in _LONG else f"d.{column}" for column in named or _SHOWN]


def _part(column: str) -> str:
    return f"substr(d.{column}, 1, {_TEXT_READ}) AS {column}"


def table(
    shown: Sequence[dict[str, Any]], named: Sequence[str], *, one_root: bool, utc: bool
) -> tuple[list[Column], list[tuple[str, ...]]]:
    """Columns and rows of a table: the columns that are named, else the usual ones, without ROOT for `one_root`."""
    names = tuple(named) or tuple(name for name in _SHOWN if name != "root" or not one_root)
    columns, cells = [], []
    for name in names:
        column = _COLUMNS.get(name) or Column(name.upper(), least=8, goes=1)
        values = [row[name] for row in shown]
        if name in _TIMES:
            header, texts = clock_times.column(column.header.removesuffix("_UTC"), values, utc=utc)
            column = column._replace(header=header)
        else:
            texts = [_cell(name, value) for value in values]
        columns.append(column)
        cells.append(texts)
    return columns, list(zip(*cells, strict=True))


def _cell(name: str, value: Any) -> str:
    if name == "duration_ms":
        return human_duration(value)
    if name == COST_COLUMN:
        return dollars(value)
    if name in TOKEN_COLUMNS and value is not None:
        return f"{value:,}"
    return shorten(value, _TEXT_SHOWN) if isinstance(value, str) else "" if value is None else str(value)
