"""The common shape of answers: schema number, absent values, and `Answer`, the source of every output form. It imports
nothing, because every command imports it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

SCHEMA = 2
"""Version of the JSON documents; incremented by a breaking change."""
COMMIT_SCHEMA = 1
"""Version of the output of `--once` and `commit`, which is core-agent's and fixed."""

_NUMBERS = ("issue", "pid")
"""Numbers for which 0 means none."""


def absent_as_null(row: dict[str, Any]) -> dict[str, Any]:
    """A row with null for values missing in the status file ("", no issue, no pid)."""
    return {name: None if value == "" or (value == 0 and name in _NUMBERS) else value for name, value in row.items()}


class Answer(NamedTuple):
    """All rows, the names of their `columns`, and `head`: the JSON fields before the rows."""

    head: dict[str, Any]
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]

    def document(self, shown: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The JSON document with the `shown` rows and the total number."""
        return {**self.head, "rows_count": len(self.rows), "rows": shown}
