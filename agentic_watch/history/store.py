"""The writing end of the history: one connection, used by one thread at a time, one transaction a group.

A history that is gone, corrupt or locked never stops a commit: every method raises HistoryError, the
caller goes on with journal and marker, and the rows come later from the journals.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from agentic_watch.history import schema
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.rows import FINDING_COLUMNS, HISTORY_COLUMNS, Row

_PATIENCE_MS = 5_000
_PATIENCE_WHEN_FAILING_MS = 200
_LOCK_PAUSE_SECONDS = 0.01
_CORRUPT = ("file is not a database", "database disk image is malformed", "file is encrypted")

_INSERT = (
    f"INSERT INTO dispatch_history (id, {', '.join(HISTORY_COLUMNS)}) "
    f"VALUES ({', '.join('?' * (len(HISTORY_COLUMNS) + 1))}) "
    "ON CONFLICT (root, workspace, updated_utc, runs) DO NOTHING"
)
_INSERT_FINDING = (
    "INSERT INTO findings (dispatch_id, " + ", ".join(f'"{name}"' for name in FINDING_COLUMNS) + ") "
    f"VALUES ({', '.join('?' * (len(FINDING_COLUMNS) + 1))})"
)
_INSERT_SEARCH = (
    "INSERT INTO dispatch_search (rowid, task, question, findings) "
    "SELECT id, task, question, findings FROM dispatch_text WHERE id >= ?"
)

Key = tuple[str, int]
"""(`updated_utc`, `runs`): a row's identity within its workspace."""


@dataclass(slots=True)
class History:
    """The history file `path`, opened when first needed and opened again when it was replaced or failed.

    `notices` collects, for the caller to log and clear, what an operator must know: a file set aside, a backup.
    """

    path: str
    read_only: bool = False
    notices: list[str] = field(default_factory=list)
    _connection: sqlite3.Connection | None = None
    _inode: tuple[int, int] | None = None
    _failing: bool = False

    def open(self) -> None:
        """Open and upgrade the file; in place of a corrupt one that could be set aside, a new one.

        Raises HistoryTooNew, or HistoryError when it cannot be used now.
        """
        said = len(self.notices)
        try:
            with self._guarded():
                return
        except HistoryError:
            if len(self.notices) == said:
                raise
        with self._guarded():
            pass

    def committed(self, root: str, workspaces: Sequence[str]) -> dict[str, dict[Key, str]]:
        """All commits that the history holds of these workspaces: workspace → identity → committed_at."""
        sql = (
            "SELECT workspace, updated_utc, runs, committed_at FROM dispatch_history "
            f"WHERE root = ? AND workspace IN ({marks(workspaces)})"
        )
        found: dict[str, dict[Key, str]] = {}
        with self._guarded() as connection:
            for workspace, utc, runs, at in connection.execute(sql, (root, *workspaces)):
                found.setdefault(workspace, {})[utc, runs] = at
        return found

    def count_commits(self, root: str, workspaces: Sequence[str]) -> int:
        """How many commits the history holds of these workspaces together."""
        sql = f"SELECT count(*) FROM dispatch_history WHERE root = ? AND workspace IN ({marks(workspaces)})"
        with self._guarded() as connection:
            return int(connection.execute(sql, (root, *workspaces)).fetchone()[0])

    def insert(self, rows: Sequence[Row]) -> int:
        """Insert rows in one transaction; gives how many were new. A row that is there changes nothing."""
        with self.inserting(rows) as inserted:
            return inserted

    @contextlib.contextmanager
    def inserting(self, rows: Sequence[Row]) -> Iterator[int]:
        """Rows that are inserted, and committed at the end: nothing of them is in the file before that."""
        with self.transaction() as connection:
            yield _insert(connection, rows)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        """A good connection; a corrupt file is set aside, any other failure becomes HistoryError."""
        try:
            yield self._ready()
        except sqlite3.DatabaseError as error:
            self.close()
            self._failing = True
            if not self.read_only and any(text in str(error) for text in _CORRUPT):
                with contextlib.suppress(OSError):  # whoever meets it next tries again
                    self._set_aside(str(error))
            raise HistoryError(f"{self.path}: {error}") from error
        except OSError as error:
            self.close()
            self._failing = True
            raise HistoryError(f"{self.path}: {error.strerror}") from error
        self._failing = False

    def _ready(self) -> sqlite3.Connection:
        if self._connection is not None and (self.read_only or self._inode == _inode(self.path)):
            return self._connection
        if not self.read_only and self._inode not in (None, _inode(self.path)):
            self.notices.append(f"{self.path}: was replaced or removed; opened anew")
        self.close()
        if self.read_only:
            connection = schema.open_read_only(self.path)
        else:
            directory = os.path.dirname(self.path)
            _make_directories(directory)
            with _directory_lock(directory, self._patience_ms):
                connection = self._connect()
        self._connection, self._inode = connection, _inode(self.path)
        return connection

    @property
    def _patience_ms(self) -> int:
        return _PATIENCE_WHEN_FAILING_MS if self._failing else _PATIENCE_MS

    def _connect(self) -> sqlite3.Connection:
        schema.refuse_newer_file(self.path)
        # Two threads use it, one after the other (commit/insertion.py).
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {self._patience_ms}")
            found = schema.refuse_newer(connection, self.path)
            if found != schema.VERSION:
                schema.upgrade(connection, self.path, f"{self.path}.backup-v{found}-{_stamp()}")
            # FULL: the row must survive a power cut before the marker vouches for it.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            # A group of 256 rows changes more than SQLite's 1,000 pages in a large history: it would copy its log
            # into the file at each commit.
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
        except BaseException:
            connection.close()
            raise
        return connection

    def _set_aside(self, cause: str) -> None:
        """Move a corrupt history out of the way, with its log; the journals will fill a new one."""
        with _directory_lock(os.path.dirname(self.path), self._patience_ms):
            if not _is_corrupt(self.path):
                return
            aside = f"{self.path}.corrupt-{_stamp()}"
            for suffix in ("-wal", "-shm", ""):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(self.path + suffix, aside + suffix)
        self._inode = None
        self.notices.append(f"{self.path}: {cause}; moved to {aside}. A new history is being rebuilt from the journals")

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """A connection inside BEGIN IMMEDIATE … COMMIT.

        One that is not `durable` may be gone after a power cut, but not after a kill; the next durable one makes it so.
        """
        with self._guarded() as connection:
            if durable:
                with _transaction(connection):
                    yield connection
                return
            connection.execute("PRAGMA synchronous = NORMAL")
            try:
                with _transaction(connection):
                    yield connection
            finally:
                connection.execute("PRAGMA synchronous = FULL")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read from."""
        with self._guarded() as connection:
            yield connection

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE: the write lock is taken, or waited for, before anything is read.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def marks(values: Sequence[object]) -> str:
    """The question marks of an IN list, one each."""
    return ", ".join("?" * len(values))


def _insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """A few statements for all rows: the write lock is held, so the next free numbers are ours."""
    (first,) = connection.execute("SELECT ifnull(max(id), 0) + 1 FROM dispatch_history").fetchone()
    numbered = list(enumerate(rows, first))
    inserted = connection.executemany(_INSERT, ((number, *row.values) for number, row in numbered)).rowcount
    if inserted < len(rows):  # the others were there already
        new = {number for (number,) in connection.execute("SELECT id FROM dispatch_history WHERE id >= ?", (first,))}
        numbered = [(number, row) for number, row in numbered if number in new]
    if findings := [(number, *finding) for number, row in numbered for finding in row.findings]:
        connection.executemany(_INSERT_FINDING, findings)
    connection.execute(_INSERT_SEARCH, (first,))
    return inserted


def _make_directories(directory: str) -> None:
    """Make the history's directory durably: SQLite syncs what is in it, not its own name."""
    if os.path.isdir(directory):
        return
    parent = os.path.dirname(directory)
    _make_directories(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory)
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _directory_lock(directory: str, patience_ms: int) -> Iterator[None]:
    """One process at a time makes, upgrades or sets aside a history. Closing the descriptor unlocks.

    Raises OSError when another process does not let go in time.
    """
    deadline = time.monotonic() + patience_ms / 1000
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock on its directory")
            time.sleep(_LOCK_PAUSE_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_corrupt(path: str) -> bool:
    """Whether the file as it is now is corrupt: another process may have replaced it already."""
    if not os.path.exists(path):
        return False
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok")
    except sqlite3.OperationalError:
        return False
    except sqlite3.DatabaseError:
        return True


def _inode(path: str) -> tuple[int, int] | None:
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return None
    return info.st_dev, info.st_ino


def _stamp() -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
