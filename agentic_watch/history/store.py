"""The writing connection to the history: used by one thread at a time, one transaction per group.

A missing, corrupt or locked history never stops a commit: every method raises HistoryError, the caller continues with
journal and marker, and the rows are inserted later from the journals.
"""

from __future__ import annotations

import contextlib
import functools
import math
import operator
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from agentic_watch.history import (
    HistoryError,
    HistoryNotOurs,
    corrupt_file,
    findings_and_search,
    history_file,
    opening,
    row_count,
    rows,
)
from agentic_watch.history.corrupt_file import LogInodes
from agentic_watch.history.history_file import Inode
from agentic_watch.history.opening import OnProgress, open_to_write
from agentic_watch.history.row_count import NewestRow
from agentic_watch.history.rows import Row
from agentic_watch.host.retry import every, retry

_PATIENCE_MS = 5_000
_PATIENCE_WHEN_FAILING_MS = 200
_ATTEMPT_MS = 5
"""Timeout of one attempt to get the write lock: SQLite retries every 1 or 2 ms for so long."""
_PAUSES_SECONDS = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Pause after failing to open the history, by the number of consecutive failures."""
_LOCKED_PAUSES_SECONDS = (0.0, 0.2, 0.5, 1.0)
"""Pause after waiting in vain for the write lock, by the number of consecutive failures; commits continue without rows
meanwhile."""

_T = TypeVar("_T")
IsSame = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class _Open:
    """A connection and the inodes of its files."""

    connection: sqlite3.Connection
    inode: Inode | None
    logs: LogInodes


@dataclass(slots=True)
class History:
    """The history file `path`, opened on first use and again after it was replaced or failed.

    `notices` collects messages for the operator (a file moved aside, an upgrade), which the caller logs and clears.
    `is_same` compares a row's text with a requested one regardless of redaction (SQL: is_same_text). `on_progress` is
    called repeatedly during long work; `patience_ms` is how long to wait for the write lock.
    """

    path: str
    read_only: bool = False
    notices: list[str] = field(default_factory=list)
    on_progress: OnProgress = lambda _: None
    is_same: IsSame = operator.eq
    patience_ms: int = _PATIENCE_MS
    _current: _Open | None = None
    _last_inode: Inode | None = None
    _failures: int = 0
    _next_try: float = 0.0
    _last_cause: str = ""
    _failing: bool = False
    _newest: NewestRow | None = None
    _locked_until: float = 0.0
    _locked_times: int = 0
    _locked_cause: str = ""

    def open(self) -> None:
        """Open and if necessary upgrade the file; a corrupt one is moved aside and replaced by a new one.

        Raises HistoryRefused, or HistoryError when it is not available now.
        """
        said = len(self.notices)
        try:
            with self.reading():
                return
        except HistoryError:
            if len(self.notices) == said:
                raise
        with self.reading():
            pass

    def insert(self, new: Sequence[Row], *, durable: bool = True) -> int:
        """Insert rows in one transaction; returns how many were new. Existing rows are skipped."""
        with self.inserting(new, durable=durable) as inserted:
            return inserted

    @contextlib.contextmanager
    def inserting(self, new: Sequence[Row], *, durable: bool = True) -> Iterator[int]:
        """Insert rows, and commit at the end of the body: before that, nothing is in the file."""
        with self.transaction(durable=durable) as connection:
            insert = functools.partial(rows.insert, connection, new)
            inserted, newest = findings_and_search.past_damage(connection, insert, self._note_damage)
            newest = newest or row_count.newest(connection)
            yield inserted
        self._newest = newest

    def catch_up(self, seconds: float) -> None:
        """Complete findings and search for about `seconds`, rebuilding what is damaged.

        Raises HistoryError.
        """
        if self.read_only:
            return
        end = time.monotonic() + seconds
        with self.reading() as connection:
            is_complete = findings_and_search.is_complete(connection)
        while not is_complete:
            with self.transaction(durable=False) as connection:
                catch_up = functools.partial(findings_and_search.catch_up, connection)
                is_complete = findings_and_search.past_damage(connection, catch_up, self._note_damage)
            if time.monotonic() >= end:
                return

    def rebuilding(self, act: Callable[[], _T]) -> _T:
        """Call `act` and return its result; if derived data is damaged, rebuild it and call `act` once more.

        Raises HistoryError.
        """
        try:
            return act()
        except HistoryError as error:
            cause = error.__cause__
            if not isinstance(cause, sqlite3.Error) or not findings_and_search.is_damage(cause):
                raise
        with self.transaction() as connection:
            findings_and_search.give_up(connection, cause)
        self._note_damage(cause)
        self.catch_up(math.inf)
        return act()

    def is_the_same(self, connection: sqlite3.Connection) -> bool:
        """Whether no row was removed since this process inserted its last one, and the file is no older copy."""
        if self._newest is None or row_count.is_there(connection, self._newest):
            return True
        self._newest = None
        return False

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A connection inside BEGIN IMMEDIATE and COMMIT.

        Without `durable`, a power cut (but not a kill) may undo it until `make_durable`.
        """
        if time.monotonic() < self._locked_until:
            raise HistoryError(self._locked_cause)
        with self.reading() as connection:
            if not durable:
                connection.execute("PRAGMA synchronous = NORMAL")
            try:
                with connection:  # rolls back on error
                    self._begin(connection)
                    self._locked_times = 0
                    history_file.refuse_newer(connection, self.path)  # it may have been upgraded meanwhile
                    yield connection
                    connection.execute("COMMIT")
            finally:
                if not durable:
                    connection.execute("PRAGMA synchronous = FULL")

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Take the write lock as soon as it is free, in short attempts: within a long one SQLite's busy handler soon
        retries only every 100 ms, and long work releases the lock for a few milliseconds between slices
        (exchange/slices.py)."""
        connection.execute(f"PRAGMA busy_timeout = {_ATTEMPT_MS}")
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            retry(lambda: connection.execute("BEGIN IMMEDIATE"), _is_busy, every(0.001, self._patience_ms / 1000))
        finally:
            connection.execute(f"PRAGMA busy_timeout = {self.patience_ms}")

    def make_durable(self) -> None:
        """Make all committed transactions durable. Raises HistoryError."""
        with self.transaction() as connection:
            for change in (1, -1):  # SQLite does not sync a transaction without changes
                connection.execute("UPDATE upkeep SET rows = rows + ?", (change,))

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to the current file at the path. A corrupt one is moved aside; other failures raise
        HistoryError."""
        try:
            current = self._current
            if current is None or not (self.read_only or current.inode == history_file.inode_of(self.path)):
                current = self._open_again()
            yield current.connection
        except sqlite3.DatabaseError as error:
            if findings_and_search.is_of_search(error):
                self._give_up_derived(error)
            elif _is_busy(error):
                pause = _LOCKED_PAUSES_SECONDS[min(self._locked_times, len(_LOCKED_PAUSES_SECONDS) - 1)]
                self._locked_until, self._locked_times = time.monotonic() + pause, self._locked_times + 1
                self._locked_cause = f"{self.path}: {error}"
            elif corrupt_file.looks_corrupt(error) and not self.read_only:
                with contextlib.suppress(OSError):  # the next use tries again
                    self._set_aside(str(error))
            self._fail()
            raise HistoryError(f"{self.path}: {error}") from error
        except OSError as error:
            self._fail()
            raise HistoryError(f"{self.path}: {error.strerror}") from error
        self._failing = False

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        if self._current is not None and not self.read_only and not self._is_in_place(self._current):
            with contextlib.suppress(sqlite3.Error, OSError):  # the next open handles the rest
                corrupt_file.leave_behind(self._current.connection, self.path, self._current.logs, self._patience_ms)
        self._let_go()

    def _is_in_place(self, current: _Open) -> bool:
        """Whether the open file is still at its path."""
        try:
            return current.inode == history_file.inode_of(self.path)
        except OSError:
            return False

    def _let_go(self) -> None:
        """Close the connection without further work."""
        if (current := self._current) is None:
            return
        self._current = None
        with contextlib.suppress(sqlite3.Error):
            current.connection.close()
        if current.inode is not None:
            history_file.unregister(current.inode)

    def _fail(self) -> None:
        self.close()
        self._failing = True

    def _open_again(self) -> _Open:
        if time.monotonic() < self._next_try:
            raise HistoryError(self._last_cause)
        replaced = not self.read_only and self._last_inode not in (None, history_file.inode_of(self.path))
        try:
            self.close()
            connection = opening.open_read_only(self.path) if self.read_only else self._open_to_write()
        except (sqlite3.Error, OSError, HistoryError) as error:
            self._leave_alone(error)
            raise
        if replaced:
            self.notices.append(f"{self.path}: was replaced or removed; reopened")
        return self._take(connection)

    def _open_to_write(self) -> sqlite3.Connection:
        try:
            return open_to_write(self.path, self._patience_ms, self.notices, self.on_progress)
        except HistoryNotOurs as error:
            if self._last_inode is None:
                raise
            # The history worked before: commits continue, and this file may be removed again.
            raise HistoryError(str(error)) from error

    def _take(self, connection: sqlite3.Connection) -> _Open:
        connection.create_function("is_same_text", 2, lambda held, asked: self.is_same(held, asked))
        inode = history_file.inode_of(self.path)
        self._current = current = _Open(connection, inode, corrupt_file.log_inodes(self.path))
        self._last_inode, self._failures, self._next_try = inode, 0, 0.0
        if inode is not None:
            history_file.register(inode)
        return current

    def _leave_alone(self, error: Exception) -> None:
        """Pause before the next attempt, so that frequent callers do not spend all their time on it."""
        cause = (isinstance(error, OSError) and error.strerror) or str(error)
        self._last_cause = cause if isinstance(error, HistoryError) else f"{self.path}: {cause}"
        self._next_try = time.monotonic() + _PAUSES_SECONDS[min(self._failures, len(_PAUSES_SECONDS) - 1)]
        self._failures += 1

    @property
    def _patience_ms(self) -> int:
        return _PATIENCE_WHEN_FAILING_MS if self._failing or self._locked_times else self.patience_ms

    def _note_damage(self, cause: sqlite3.Error) -> None:
        self.notices.append(f"{self.path}: findings or search index damaged ({cause}); rebuilding")

    def _give_up_derived(self, error: sqlite3.Error) -> None:
        """Damage found at the end of a transaction: later transactions omit the damaged part."""
        if self._current is None or self.read_only:
            return
        with contextlib.suppress(sqlite3.Error):
            with self._current.connection as connection:
                connection.execute("BEGIN IMMEDIATE")
                findings_and_search.give_up(connection, error)
            self._note_damage(error)

    def _set_aside(self, cause: str) -> None:
        notice = corrupt_file.set_aside(self.path, cause, self._patience_ms, known=self._last_inode, close=self._let_go)
        if notice is not None:
            self._last_inode = None
            self.notices.append(notice)


def _is_busy(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def marks(values: Sequence[object]) -> str:
    """Question marks for an IN list, one per value."""
    return ", ".join("?" * len(values))
