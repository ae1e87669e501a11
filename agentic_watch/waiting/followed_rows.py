"""Yields rows of the history as they are committed, for `history --follow`.

The position is valid in one history. If another file takes its place (a new one, a restored backup), the rows committed
since the start that were not yielded yet are read from that.

inotify reports writes to the WAL, SQLite whether something was committed. A commit becomes visible some time after the
last write: the WAL is synced first, then shared memory is changed, which inotify does not report. So SQLite is polled
frequently for a while after a write, and rarely otherwise.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentic_watch.answers.past.filters import Filter, Term, where
from agentic_watch.answers.past.sql_dialects import Source, SqliteSource
from agentic_watch.fleet import outbox
from agentic_watch.fleet.push_state import Position
from agentic_watch.history import HistoryError, HistoryNotOurs, opening
from agentic_watch.history.opening import HistoryWatch
from agentic_watch.watch.directory_watch import Add, DirectoryWatch, directory_watch
from agentic_watch.workspace import instant

KEY = "the history"
"""The history's key in DirectoryWatch."""

_AGAIN = ((0.5, 0.005), (2.0, 0.02), (10.0, 0.1))
"""(seconds since the last write, polling interval until then)."""
_IDLE_SECONDS = 5.0
_WITHOUT_EVENTS_SECONDS = 0.05
_AWAY_SECONDS = 0.5


class HistoryChanges:
    """Detects commits to the history at this path, also if it is replaced, removed or created. Used from one thread;
    call `close` at the end. `watches` is None without inotify."""

    def __init__(self, history: str, watches: DirectoryWatch | None) -> None:
        self._history = history
        self._watches = watches
        self._watch = HistoryWatch(history)
        self._written_at = time.monotonic()
        self._is_watched = False
        self.written()

    def written(self) -> None:
        """inotify reported a write, or another file at the path."""
        self._written_at = time.monotonic()
        self._is_watched = self._watches is not None and self._renew(self._watches)

    def until_next(self) -> float:
        """Seconds until the next poll without an event."""
        if not self._is_watched:
            return _WITHOUT_EVENTS_SECONDS if os.path.isdir(os.path.dirname(self._history)) else _AWAY_SECONDS
        since = time.monotonic() - self._written_at
        return next((pause for until, pause in _AGAIN if since < until), _IDLE_SECONDS)

    def happened(self) -> bool:
        """Whether something was committed since the last call; also true at the first call and when unknown."""
        if not self._is_watched:  # its directory did not exist
            self.written()
        return self._watch.changed()

    def close(self) -> None:
        """Close the history."""
        self._watch.close()

    def _renew(self, watches: DirectoryWatch) -> bool:
        """Watch the directories of the file and of its symlink's target."""
        paths = {self._history, os.path.realpath(self._history)}
        with watches.renewing(KEY, writes=True) as add:
            return sum(_add_directory(add, path) for path in paths) == len(paths)


def _add_directory(add: Add, path: str) -> bool:
    directory, base = os.path.split(path)
    with _opened(directory) as descriptor:
        return descriptor >= 0 and add(descriptor, [base, f"{base}-wal"])


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[int]:
    """The open directory; -1 when it does not exist."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield -1
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


_AT_ONCE = 100
_LARGE_AT_ONCE = 8
"""Rows read before they are printed; complete ones may have megabytes. No query stays open during output, because a
blocked reader of stdout would keep the WAL from being reset."""
_TOLD_AT_MOST = 10_000
_REST_SECONDS = 0.005
_RETRY_SECONDS = 0.5
_CALLED = "d.updated_utc || ' ' || d.runs || ' ' || d.workspace"
"""Identifies a row as in outbox.py."""
_NAMED = {"_id": "d.id", "_root": "d.root", "_called": _CALLED}
_READER = "the reader of what is printed"


class _Name(NamedTuple):
    """A row by its id, and by its identity in any history."""

    id: int
    root: str
    called: str


@dataclass(slots=True)
class _Place:
    """The row up to which a history was read."""

    history_id: str = ""
    last: Position = field(default_factory=Position)
    is_another: bool = False


@dataclass(slots=True)
class Following:
    """New rows that match `wanted`, with the given columns (of `d`), as they are committed to the history at `path`.

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
        """Start after the current newest row; at the beginning if there is no history yet.

        Raises HistoryRefused.
        """
        try:
            with opening.reading(self.path) as connection:
                asked = SqliteSource(connection)
                self._place = _Place(outbox.history_id(connection), newest := _newest(asked))
                sql = (
                    f"SELECT d.root, {_CALLED} FROM {asked.dialect.commits} AS d WHERE d.id > ? AND d.committed_at >= ?"
                )
                self._told.extend(asked.rows(sql, [newest.id - _TOLD_AT_MOST, self._since]))
        except HistoryError:
            pass

    def batches(self, output: int) -> Iterator[list[dict[str, Any]]]:
        """Yield groups of rows in commit order, until the reader of the descriptor `output` closes it.

        Raises HistoryRefused.
        """
        watches = directory_watch()
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
        """Yield all new rows; an unavailable history is retried when it changes, or a little later."""
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
        with opening.reading(self.path) as connection:
            connection.execute("BEGIN")  # one snapshot: rows inserted meanwhile have higher ids
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
        """Start again if the history was replaced or restored from a backup."""
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
