"""Where the rows of an answer come from: this host's history, or whatever else answers SQL."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agentic_watch.answers.past import dialect
from agentic_watch.answers.past.dialect import Dialect
from agentic_watch.history import queries


class Source(Protocol):
    """Something that answers SQL in the words of its `dialect`. `?` stands for a value, whatever the engine writes."""

    @property
    def dialect(self) -> Dialect:
        """The words of this engine."""
        ...

    def rows(self, sql: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows, as they come."""
        ...

    def named(self, sql: str, values: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
        """The rows with their columns' names."""
        ...

    def search_value(self, text: str) -> str:
        """What a user typed as the value of the dialect's `searching`."""
        ...


@dataclass(frozen=True, slots=True)
class SqliteSource:
    """This host's history. Raises sqlite3.Error, which `history` turns into HistoryError."""

    connection: sqlite3.Connection
    dialect: Dialect = dialect.SQLITE

    def rows(self, sql: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows, as they come."""
        return iter(self.connection.execute(sql, values))

    def named(self, sql: str, values: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
        """The rows with their columns' names."""
        cursor = self.connection.execute(sql, values)
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))

    def search_value(self, text: str) -> str:
        """The words as an FTS5 expression."""
        queries.index_waiting(self.connection)
        return queries.match_expression(text)


@contextlib.contextmanager
def history(path: str) -> Iterator[Source]:
    """This host's history for one answer. Raises HistoryError and HistoryRefused as `queries.reading` does."""
    with queries.reading(path) as connection:
        yield SqliteSource(connection)
