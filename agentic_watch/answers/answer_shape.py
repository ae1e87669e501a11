"""What all answers say alike: the shape's number, what is absent, how things are counted; and an answer that has rows,
whoever asked: what every form of it is made from. Imports nothing: each command needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

SCHEMA = 2
"""The shape of the JSON documents; a change that breaks a reader increments it."""
COMMIT_SCHEMA = 1
"""The shape of what `--once` and `commit` print, which is core-agent's and stays."""

_NUMBERS = ("issue", "pid")
"""Numbers that are 0 when there is none."""


def absent_as_null(row: dict[str, Any]) -> dict[str, Any]:
    """A row in which what the status file did not say ("", no issue, no pid) is null."""
    return {name: None if value == "" or (value == 0 and name in _NUMBERS) else value for name, value in row.items()}


def counted(count: int, word: str) -> str:
    """A number and its word: `1 finding`, `1,200 dispatches`, `2 repositories`."""
    if count == 1:
        return f"1 {word}"
    plural = f"{word[:-1]}ies" if word.endswith("y") else f"{word}es" if word.endswith("h") else f"{word}s"
    return f"{count:,} {plural}"


class Answer(NamedTuple):
    """All rows under the names in `columns`, and `head`: what JSON says before them."""

    head: dict[str, Any]
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]

    def document(self, shown: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The JSON document with the rows that are shown, and the number of all."""
        return {**self.head, "rows_count": len(self.rows), "rows": shown}
