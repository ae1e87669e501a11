"""An answer that has rows, whoever asked: what every form of it is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """All rows under the names in `columns`, and `head`: what JSON says before them."""

    head: dict[str, Any]
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]

    def document(self, shown: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The JSON document with the rows that are shown, and the number of all."""
        return {**self.head, "rows_count": len(self.rows), "rows": shown}
