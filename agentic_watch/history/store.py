"""The writing end of the history: one connection, used by one thread at a time, one transaction a group.

A history that is gone, corrupt or locked never stops a commit: every method raises HistoryError, the
caller goes on with journal and marker, and the rows come later from the journals.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from agentic_watch.history import damage, new_rows, ownership, schema
from agentic_watch.history.history_errors import HistoryError, HistoryNotOurs
from agentic_watch.history.opening import open_to_write
from agentic_watch.history.ownership import Inode
from agentic_watch.history.rows import Row
from agentic_watch.history.schema import OnProgress

_PATIENCE_MS = 5_000
_PATIENCE_WHEN_FAILING_MS = 200

Key = tuple[str, int]
"""(`updated_utc`, `runs`): a row's identity within its workspace."""


@dataclass(slots=True)
class History:
    """The history file `path`, opened when first needed and opened again when it was replaced or failed.

    `notices` collects, for the caller to log and clear, what an operator must know: a file set aside, an upgrade.
    `on_progress` hears often of what takes long.
    """

    path: str
    read_only: bool = False
    notices: list[str] = field(default_factory=list)
    on_progress: OnProgress = lambda _: None
    _connection: sqlite3.Connection | None = None
    _inode: Inode | None = None
    _failing: bool = False

    def open(self) -> None:
        """Open and upgrade the file; in place of a corrupt one that could be set aside, a new one.

        Raises HistoryRefused, or HistoryError when it cannot be used now.
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
            yield new_rows.insert(connection, rows)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        """A good connection; a corrupt file is set aside, any other failure becomes HistoryError."""
        try:
            yield self._ready()
        except sqlite3.DatabaseError as error:
            self._fail()
            if not self.read_only and damage.looks_corrupt(error):
                with contextlib.suppress(OSError):  # whoever meets it next tries again
                    self._set_aside(str(error))
            raise HistoryError(f"{self.path}: {error}") from error
        except OSError as error:
            self._fail()
            raise HistoryError(f"{self.path}: {error.strerror}") from error
        self._failing = False

    def _fail(self) -> None:
        self.close()
        self._failing = True

    def _ready(self) -> sqlite3.Connection:
        if self._connection is not None and (self.read_only or self._inode == ownership.inode_of(self.path)):
            return self._connection
        if not self.read_only and self._inode not in (None, ownership.inode_of(self.path)):
            self.notices.append(f"{self.path}: was replaced or removed; opened anew")
        self.close()
        connection = schema.open_read_only(self.path) if self.read_only else self._open_to_write()
        self._connection, self._inode = connection, ownership.inode_of(self.path)
        if self._inode is not None:
            ownership.took(self._inode)
        return connection

    def _open_to_write(self) -> sqlite3.Connection:
        try:
            return open_to_write(self.path, self._patience_ms, self.notices, self.on_progress)
        except HistoryNotOurs as error:
            if self._inode is None:
                raise
            # It worked once: the commits go on, and whoever put this file there may take it away again.
            self._fail()
            raise HistoryError(str(error)) from error

    @property
    def _patience_ms(self) -> int:
        return _PATIENCE_WHEN_FAILING_MS if self._failing else _PATIENCE_MS

    def _set_aside(self, cause: str) -> None:
        notice = damage.set_aside(self.path, cause, self._patience_ms, known=self._inode)
        if notice is not None:
            self._inode = None
            self.notices.append(notice)

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
            if self._inode is not None:
                ownership.gave_back(self._inode)


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
