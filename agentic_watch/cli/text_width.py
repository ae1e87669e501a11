"""How many columns of a terminal a text takes, and how to cut it to fewer."""

from __future__ import annotations

import unicodedata

_WIDE = ("W", "F")
_NO_WIDTH = ("Mn", "Me", "Cf")


def width(text: str) -> int:
    """Columns on a terminal: East Asian characters take two, combining ones none (UAX #11)."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(character: str) -> int:
    if unicodedata.category(character) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(character) in _WIDE else 1


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """The text with spaces behind it (`right`: before it), so that it takes so many columns."""
    space = " " * (columns - width(text))
    return space + text if right else text + space


def cut(text: str, columns: int) -> str:
    """The text in at most so many columns; what was cut off is an ellipsis at its end."""
    return text if width(text) <= columns else _begin(text, columns - 1) + "…"


def cut_middle(text: str, columns: int) -> str:
    """The same with the ellipsis in the middle: of a path the first and the last part say most."""
    if width(text) <= columns:
        return text
    left = (columns - 1) // 3
    return _begin(text, left) + "…" + _begin(text[::-1], columns - 1 - left)[::-1]


def wrap(text: str, columns: int) -> list[str]:
    """The text in lines of at most so many columns, broken between words where that can be."""
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
