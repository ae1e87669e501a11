"""Lays out tables for the terminal's width: texts shrink first, then columns are dropped in a fixed order; numbers are
never cut.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click

from agentic_watch.cli.output import clean, line_width
from agentic_watch.cli.value_texts import time_column

_WIDE = ("W", "F")
_NO_WIDTH = ("Mn", "Me", "Cf")


def width(text: str) -> int:
    """Width on a terminal: East Asian characters take two columns, combining ones none (UAX #11)."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """Pad the text with spaces to `columns`, on its left side if `right`."""
    space = " " * (columns - width(text))
    return space + text if right else text + space


def cut(text: str, columns: int) -> str:
    """Cut the text to at most `columns`, with an ellipsis at the end."""
    return text if width(text) <= columns else _begin(text, columns - 1) + "…"


def cut_middle(text: str, columns: int) -> str:
    """Like `cut`, with the ellipsis in the middle: the ends of a path are the most informative."""
    if width(text) <= columns:
        return text
    left = (columns - 1) // 3
    return _begin(text, left) + "…" + _begin(text[::-1], columns - 1 - left)[::-1]


def wrap(text: str, columns: int) -> list[str]:
    """Wrap the text into lines of at most `columns`, between words if possible."""
    lines, line = [], ""
    for word in text.split(" "):
        while width(word) > columns:
            lines += [line] if line else []
            line, word = _begin(word, columns), word[len(_begin(word, columns)) :]
            lines, line = [*lines, line], ""
        longer = f"{line} {word}" if line else word
        if width(longer) > columns:
            lines, line = [*lines, line], word
        else:
            line = longer
    return [*lines, line]


def _begin(text: str, columns: int) -> str:
    taken = 0
    for index, character in enumerate(text):
        taken += _width(character)
        if taken > columns:
            return text[:index]
    return text


_GAP = "  "
_LEAST_NOTE = 20


class Column(NamedTuple):
    """One column: its header, its value in a row, and its behaviour on a narrow terminal.

    `cell` is a key of the row, or a function of it. A `time` (in the format of `updated_utc`) is shown with its zone. A
    `number` is right-aligned. Text may shrink to `least` columns (0: never), a `path` in its middle. If that is not
    enough, columns with the highest `goes` are dropped first; 0 is never dropped.
    """

    header: str
    cell: str | Callable[[Any], Any]
    number: bool = False
    least: int = 0
    path: bool = False
    goes: int = 0
    time: bool = False

    def value(self, row: Any) -> Any:
        """Its value in a row; None is an empty cell."""
        return row[self.cell] if isinstance(self.cell, str) else self.cell(row)


def print_table(columns: Sequence[Column], rows: Sequence[Any], *, utc: bool = False) -> None:
    """Print the table within the terminal's width; nothing when there are no rows."""
    for line in lay_out(columns, rows, line_width(), utc=utc):
        click.echo(line)


def lay_out(columns: Sequence[Column], rows: Sequence[Any], limit: int | None, *, utc: bool = False) -> list[str]:
    """The lines of a table of at most `limit` columns (None: no limit)."""
    if not rows:
        return []
    columns, cells = _cells_of(columns, rows, utc=utc)
    natural = [max(width(column.header), *(width(row[index]) for row in cells)) for index, column in enumerate(columns)]
    shown, widths = fit(columns, natural, limit)
    lines = [_line(columns, widths, shown, [column.header for column in columns])]
    lines += [_line(columns, widths, shown, row) for row in cells]
    if gone := [column.header for index, column in enumerate(columns) if column.header and index not in shown]:
        note = f"(columns hidden to fit: {', '.join(gone)}; --json shows all)"
        lines += textwrap.wrap(note, max(limit or 0, _LEAST_NOTE))
    return lines


def _cells_of(columns: Sequence[Column], rows: Sequence[Any], *, utc: bool) -> tuple[list[Column], list[list[str]]]:
    """The columns with their headers for these rows, and the text of each cell."""
    named, texts = [], []
    for column in columns:
        header, values = column.header, [column.value(row) for row in rows]
        if column.time:
            header, values = time_column(header, values, utc=utc)
        named.append(column._replace(header=header))
        texts.append(["" if value is None else clean(str(value)) for value in values])
    return named, [list(row) for row in zip(*texts, strict=True)]


class RunningTable:
    """A table whose rows arrive over time, as wide as the rows so far, at most `limit`.

    The header is printed before the first row, and again when the columns change.
    """

    def __init__(self, limit: int | None, *, utc: bool) -> None:
        self._limit = limit
        self._utc = utc
        self._natural: list[int] = []
        self._header: list[str] = []

    def lines(self, columns: Sequence[Column], rows: Sequence[Any]) -> list[str]:
        """The lines for more rows; only the header when there are none yet."""
        columns, cells = _cells_of(columns, rows, utc=self._utc)
        before = self._natural or [max(width(column.header), column.least) for column in columns]
        self._natural = [max(before[index], *(width(row[index]) for row in cells), 0) for index in range(len(columns))]
        shown, widths = fit(columns, self._natural, self._limit)
        headers = [columns[index].header for index in shown]
        lines = [] if headers == self._header else [_line(columns, widths, shown, [c.header for c in columns])]
        self._header = headers
        return [*lines, *(_line(columns, widths, shown, row) for row in cells)]


def fit(columns: Sequence[Column], natural: Sequence[int], limit: int | None) -> tuple[list[int], dict[int, int]]:
    """The indices of the visible columns, and their widths. Pure."""
    shown = list(range(len(columns)))
    if limit is None:
        return shown, dict(enumerate(natural))
    while True:
        widths = {index: natural[index] for index in shown}
        if _shrink(columns, widths, limit - len(_GAP) * (len(shown) - 1)):
            return shown, widths
        goes = max(shown, key=lambda index: columns[index].goes)
        if not columns[goes].goes:
            return shown, widths
        shown.remove(goes)


def _shrink(columns: Sequence[Column], widths: dict[int, int], limit: int) -> bool:
    """Shrink the widest texts until all columns fit; False when that is impossible."""
    while (over := sum(widths.values()) - limit) > 0:
        able = [index for index, wide in widths.items() if 0 < columns[index].least < wide]
        if not able:
            return False
        widest = max(able, key=lambda index: widths[index])
        next_widest = max((widths[index] for index in able if widths[index] < widths[widest]), default=0)
        widths[widest] = max(widths[widest] - over, next_widest, columns[widest].least)
    return True


def _line(columns: Sequence[Column], widths: dict[int, int], shown: Sequence[int], cells: Sequence[str]) -> str:
    return _GAP.join(_cell(columns[index], cells[index], widths[index]) for index in shown).rstrip()


def _cell(column: Column, text: str, columns: int) -> str:
    shorter = (cut_middle if column.path else cut)(text, columns) if column.least else text
    return pad(shorter, columns, right=column.number)
