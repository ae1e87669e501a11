"""Rows of the history as they are committed, for `history --follow`.

What was read is a position in one history. When another file is in its place (a new one, a backup that came back), the
rows of dispatches that were committed since the following began, and that were not told yet, are told from it.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentic_watch.answers.past.change_filters import Term
from agentic_watch.answers.past.filters import Filter, where
from agentic_watch.answers.past.source import Source, SqliteSource
from agentic_watch.fleet import outbox
from agentic_watch.fleet.push_state import Position
from agentic_watch.history import queries
from agentic_watch.history.history_errors import HistoryError, HistoryNotOurs
from agentic_watch.waiting.history_changes import KEY, HistoryChanges
from agentic_watch.watch.few_watches import few_watches
from agentic_watch.workspace import instant

_AT_ONCE = 100
_LARGE_AT_ONCE = 8
"""Rows that are read before they are printed: whole ones have a report of megabytes. No question stays open while
somebody does not read what is printed, since it would keep the history's log from ending."""
_TOLD_AT_MOST = 10_000
_REST_SECONDS = 0.005
_RETRY_SECONDS = 0.5
_CALLED = "d.updated_utc || ' ' || d.runs || ' ' || d.workspace"
"""As outbox.py names a row."""
_NAMED = {"_id": "d.id", "_root": "d.root", "_called": _CALLED}
_READER = "the reader of what is printed"


class _Name(NamedTuple):
    """A row by its number, and by what it has in whatever history it is."""

    id: int
    root: str
    called: str


@dataclass(slots=True)
class _Place:
    """Up to which row a history was read."""

    history_id: str = ""
    last: Position = field(default_factory=Position)
    is_another: bool = False


@dataclass(slots=True)
class Following:
    """The rows that are `wanted`, with these columns (of `d`), as they are committed to the history at `path`.

    Used from one thread.
    """

    path: str
    wanted: Filter
    columns: Sequence[str]
    _is_behind: bool = False
    _place: _Place = field(default_factory=_Place)
    _since: str = field(default_factory=instant.now_text)
    _told: deque[tuple[str, str]] = field(default_factory=lambda: deque(maxlen=_TOLD_AT_MOST))

    def begin(self) -> None:
        """Begin after the row that is the newest now; where there is no history yet, with the first of all.

        Raises HistoryRefused.
        """
        try:
            with queries.reading(self.path) as connection:
                asked = SqliteSource(connection)
                self._place = _Place(outbox.history_id(connection), newest := _newest(asked))
                sql = (
                    f"SELECT d.root, {_CALLED} FROM {asked.dialect.commits} AS d WHERE d.id > ? AND d.committed_at >= ?"
                )
                self._told.extend(asked.rows(sql, [newest.id - _TOLD_AT_MOST, self._since]))
        except HistoryError:
            pass

    def batches(self, output: int) -> Iterator[list[dict[str, Any]]]:
        """Some rows at a time, the first committed first, until nobody reads the descriptor `output` any more.

        Raises HistoryRefused.
        """
        watches = few_watches()
        if watches is not None:
            watches.attend(output, _READER)
        changes = HistoryChanges(self.path, watches)
        try:
            while True:
                if changes.happened() or self._is_behind:
                    yield from self._new()
                if watches is None:
                    time.sleep(changes.until_next())
                    continue
                time.sleep(_REST_SECONDS)
                longest = changes.until_next()
                news = watches.take(min(longest, _RETRY_SECONDS) if self._is_behind else longest)
                if _READER in news:
                    return
                if KEY in news:
                    changes.written()
        finally:
            changes.close()
            if watches is not None:
                watches.close()

    def _new(self) -> Iterator[list[dict[str, Any]]]:
        """All that is new now; a history that cannot be read now is asked again when it changes, or a little later."""
        is_more = True
        while is_more:
            try:
                rows, is_more = self._read()
            except (HistoryError, HistoryNotOurs) as error:
                if isinstance(error, HistoryNotOurs) and not self._place.history_id:
                    raise
                self._is_behind = True
                return
            if rows:
                yield rows
        self._is_behind = False

    def _read(self) -> tuple[list[dict[str, Any]], bool]:
        """The next rows, and whether there may be more. Raises HistoryError, HistoryRefused."""
        most = _LARGE_AT_ONCE if "d.*" in self.columns or "d.report" in self.columns else _AT_ONCE
        with queries.reading(self.path) as connection:
            connection.execute("BEGIN")  # one snapshot: what comes meanwhile has a higher number
            self._find_place(connection)
            asked = SqliteSource(connection)
            newest = _newest(asked)
            rows = list(self._rows(asked, newest, most))
        names = [row.pop("_name") for row in rows]
        last = Position(names[-1].id, names[-1].called) if len(rows) == most else newest
        is_another = self._place.is_another
        if last.id > self._place.last.id:
            self._place.last = last
        new = [row for row, name in zip(rows, names, strict=True) if not (is_another and name[1:] in self._told)]
        self._told.extend(name[1:] for name in names)
        return new, len(rows) == most

    def _find_place(self, connection: sqlite3.Connection) -> None:
        """Begin anew when it is another history, or one that came back from a backup."""
        history_id, place = outbox.history_id(connection), self._place
        if place.history_id in ("", history_id):
            place.history_id = history_id
            if not place.last.id or outbox.confirmed_by(connection, place.last):
                return
        self._place = _Place(history_id, is_another=True)

    def _rows(self, asked: Source, newest: Position, most: int) -> Iterator[dict[str, Any]]:
        """The next rows, each with its `_name`."""
        place = self._place
        more: list[Term] = [("d.id > ?", [place.last.id]), ("d.id <= ?", [newest.id])]
        if place.is_another:
            more.append(("d.committed_at >= ?", [self._since]))
        condition, values = where(asked, self.wanted, *more)
        columns = ", ".join([*self.columns, *(f"{word} AS {name}" for name, word in _NAMED.items())])
        sql = f"SELECT {columns} FROM {asked.dialect.commits} AS d{condition} ORDER BY d.id LIMIT {most}"
        for row in asked.named(sql, values):
            row["_name"] = _Name(*(row.pop(name) for name in _NAMED))
            yield row


def _newest(asked: Source) -> Position:
    sql = f"SELECT d.id, {_CALLED} FROM {asked.dialect.commits} AS d ORDER BY d.id DESC LIMIT 1"
    return next((Position(*row) for row in asked.rows(sql)), Position())
