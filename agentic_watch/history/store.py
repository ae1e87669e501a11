"""The writing end of the history: one connection, used by one thread at a time, one transaction a group.

A history that is gone, corrupt or locked never stops a commit: every method raises HistoryError, the
caller goes on with journal and marker, and the rows come later from the journals.
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
from agentic_watch.history.row_count import Newest
from agentic_watch.history.rows import Row

_PATIENCE_MS = 5_000
_PATIENCE_WHEN_FAILING_MS = 200
_PAUSES_SECONDS = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
"""How long a history that cannot be opened is left alone, by how often that was tried in a row."""
_LOCKED_PAUSES_SECONDS = (0.0, 0.2, 0.5, 1.0)
"""How long nobody waits for the write lock again that somebody else holds, by how often that was in vain in a row:
commits go on without a row meanwhile."""

_T = TypeVar("_T")
IsSame = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class _Open:
    """A connection, and which files it uses."""

    connection: sqlite3.Connection
    inode: Inode | None
    logs: LogInodes


@dataclass(slots=True)
class History:
    """The history file `path`, opened when first needed and opened again when it was replaced or failed.

    `notices` collects, for the caller to log and clear, what an operator must know: a file set aside, an upgrade.
    `is_same` says whether a text of a row is one that is asked for, but for secrets (SQL: is_same_text).
    `on_progress` hears often of what takes long; `patience_ms` is how long the write lock is waited for.
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
    _newest: Newest | None = None
    _locked_until: float = 0.0
    _locked_times: int = 0
    _locked_cause: str = ""

    def open(self) -> None:
        """Open and upgrade the file; in place of a corrupt one that could be set aside, a new one.

        Raises HistoryRefused, or HistoryError when it cannot be used now.
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
        """Insert rows in one transaction; gives how many were new. A row that is there changes nothing."""
        with self.inserting(new, durable=durable) as inserted:
            return inserted

    @contextlib.contextmanager
    def inserting(self, new: Sequence[Row], *, durable: bool = True) -> Iterator[int]:
        """Rows that are inserted, and committed at the end: nothing of them is in the file before that."""
        with self.transaction(durable=durable) as connection:
            insert = functools.partial(rows.insert, connection, new)
            inserted, newest = findings_and_search.past_damage(connection, insert, self._note_damage)
            newest = newest or row_count.newest(connection)
            yield inserted
        self._newest = newest

    def catch_up(self, seconds: float) -> None:
        """Have findings and search take in what they lack, for about so long; what of them was damaged is made anew.

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
        """What `act` gives; where it meets damage in what is derived, that is made anew, and `act` is called once more.

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
        """Whether all that was inserted here is in it: nobody put an older copy of it in its place meanwhile."""
        if self._newest is None or row_count.is_there(connection, self._newest):
            return True
        self._newest = None
        return False

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A connection inside BEGIN IMMEDIATE … COMMIT.

        One that is not `durable` may be gone after a power cut, but not after a kill, until `make_durable`.
        """
        if time.monotonic() < self._locked_until:
            raise HistoryError(self._locked_cause)
        with self.reading() as connection:
            if not durable:
                connection.execute("PRAGMA synchronous = NORMAL")
            try:
                with connection:  # rolls back what is not committed
                    connection.execute("BEGIN IMMEDIATE")
                    self._locked_times = 0
                    history_file.refuse_newer(connection, self.path)  # one that was upgraded under us
                    yield connection
                    connection.execute("COMMIT")
            finally:
                if not durable:
                    connection.execute("PRAGMA synchronous = FULL")

    def make_durable(self) -> None:
        """Have all that was committed outlast a power cut. Raises HistoryError."""
        with self.transaction() as connection:
            for change in (1, -1):  # SQLite syncs no transaction that changes nothing
                connection.execute("UPDATE upkeep SET rows = rows + ?", (change,))

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to the file that stands at the path now. A corrupt one is set aside, any other failure becomes
        HistoryError."""
        try:
            current = self._current
            if current is None or not (self.read_only or current.inode == history_file.inode_of(self.path)):
                current = self._open_again()
            yield current.connection
        except sqlite3.DatabaseError as error:
            if findings_and_search.is_of_search(error):
                self._give_up_derived(error)
            elif getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
                pause = _LOCKED_PAUSES_SECONDS[min(self._locked_times, len(_LOCKED_PAUSES_SECONDS) - 1)]
                self._locked_until, self._locked_times = time.monotonic() + pause, self._locked_times + 1
                self._locked_cause = f"{self.path}: {error}"
            elif corrupt_file.looks_corrupt(error) and not self.read_only:
                with contextlib.suppress(OSError):  # whoever meets it next tries again
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
            with contextlib.suppress(sqlite3.Error, OSError):  # whoever opens it next sees what is left
                corrupt_file.leave_behind(self._current.connection, self.path, self._current.logs, self._patience_ms)
        self._let_go()

    def _is_in_place(self, current: _Open) -> bool:
        """Whether the open file still stands at its path."""
        try:
            return current.inode == history_file.inode_of(self.path)
        except OSError:
            return False

    def _let_go(self) -> None:
        """Close the connection as it is."""
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
            self.notices.append(f"{self.path}: was replaced or removed; opened anew")
        return self._take(connection)

    def _open_to_write(self) -> sqlite3.Connection:
        try:
            return open_to_write(self.path, self._patience_ms, self.notices, self.on_progress)
        except HistoryNotOurs as error:
            if self._last_inode is None:
                raise
            # It worked once: the commits go on, and whoever put this file there may take it away again.
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
        """Do not try again at once: who asks at every turn would do nothing else."""
        cause = (isinstance(error, OSError) and error.strerror) or str(error)
        self._last_cause = cause if isinstance(error, HistoryError) else f"{self.path}: {cause}"
        self._next_try = time.monotonic() + _PAUSES_SECONDS[min(self._failures, len(_PAUSES_SECONDS) - 1)]
        self._failures += 1

    @property
    def _patience_ms(self) -> int:
        return _PATIENCE_WHEN_FAILING_MS if self._failing or self._locked_times else self.patience_ms

    def _note_damage(self, cause: sqlite3.Error) -> None:
        self.notices.append(f"{self.path}: what is derived of its dispatches is damaged ({cause}); it is made anew")

    def _give_up_derived(self, error: sqlite3.Error) -> None:
        """Damage that shows at the end of a transaction: go on without, from the next one on."""
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


def marks(values: Sequence[object]) -> str:
    """The question marks of an IN list, one each."""
    return ", ".join("?" * len(values))
