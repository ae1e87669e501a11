"""What an import reads: rows from one file, whatever kind it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from agentic_watch.history.rows import Row

SHOWN = 5
"""So many of a file's faults are named; the others are counted."""


@dataclass(slots=True)
class Incoming:
    """One file on its way in. `read` counts its records, `invalid` those that are none; `faults` names the first ones.

    `host` and `root` stand for what a record does not say; `position` is how far into it we are, of `size`.
    """

    path: str
    host: str
    root: str | None = None
    read: int = 0
    invalid: int = 0
    faults: list[str] = field(default_factory=list)
    position: int = 0
    size: int = 0

    def fault(self, where: str, cause: str) -> None:
        """Count a record that is none."""
        self.invalid += 1
        if len(self.faults) < SHOWN:
            self.faults.append(f"{self.path}: {where}: {cause}")


Reader = Callable[[Incoming], Iterator[Row]]
"""Gives the rows of a file, and counts on the way. Raises ExchangeError, OSError or sqlite3.Error."""


def tables(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """The columns of each table of a database, by its name. Raises sqlite3.Error."""
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {
        name: [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (name,))] for name in names
    }
