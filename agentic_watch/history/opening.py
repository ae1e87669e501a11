"""Opens the history for writing or for one answer, creates new ones, sets durability, and detects writes of others."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence

from agentic_watch.history import HistoryError, history_file, row_count
from agentic_watch.history.history_file import (
    VERSION,
    connect_read_only,
    directory_lock,
    make_directories,
    refuse_newer,
)
from agentic_watch.host.retry import retry

_CANNOT_OPEN = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")

OnProgress = Callable[[str], None]
"""Called repeatedly during a long upgrade with a description, so that systemd and `status` see that the process is
alive."""


def open_to_write(path: str, patience_ms: int, notices: list[str], on_progress: OnProgress) -> sqlite3.Connection:
    """Connect to the history, creating or upgrading it if necessary; an upgrade adds a notice.

    Raises HistoryNotOurs or HistoryTooNew before any change, sqlite3.Error or OSError when it is not available now.
    """
    directory = os.path.dirname(path)
    make_directories(directory)
    with directory_lock(directory, patience_ms):
        is_there = history_file.refuse_foreign(path)
        if is_there:
            # Check before connecting as a writer, which checkpoints an existing WAL on close even if it wrote nothing.
            with contextlib.closing(connect_read_only(path)) as untouched:
                refuse_newer(untouched, path)
        # Two threads use it, but never at once (commit/batches.py).
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {patience_ms}")
            found = refuse_newer(connection, path) if is_there else 0
            if not found and history_file.has_our_tables(connection):
                create(connection, ())
                notices.append(
                    f"{path}: had no schema version, like a file loaded from a dump; recognised by its tables"
                )
            elif not found and history_file.table_names(connection):
                raise history_file.refusal_of_dump(path)
            elif not found:  # also after a kill during creation
                create(connection)
            elif found != VERSION:
                from agentic_watch.history import migrations  # rarely needed

                migrations.upgrade(connection, path, notices, on_progress)
            _set_up(connection)
            _take_stock(connection, path, notices)
        except BaseException:
            connection.close()
            raise
    return connection


def _set_up(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":  # a copy made by VACUUM INTO
        connection.execute("PRAGMA journal_mode = WAL")
    # FULL: the row must be durable before the marker is written.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # A group of 256 rows changes more than SQLite's default of 1,000 pages in a large history, which would cause a
    # checkpoint at each commit.
    connection.execute("PRAGMA wal_autocheckpoint = 4000")


def _take_stock(connection: sqlite3.Connection, path: str, notices: list[str]) -> None:
    if row_count.is_in_order(connection, path):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        notices.append(f"{path}: {row_count.take_stock(connection)}")


def create(connection: sqlite3.Connection, statements: Sequence[str] | None = None) -> None:
    """Create the tables of a new history, without importing the migrations, and set its header numbers; if the tables
    exist already, run `statements` instead."""
    if statements is None:
        from agentic_watch.history import table_definitions  # late: readers do not need it

        statements = table_definitions.CREATE
    # Before WAL mode, so that the file's header identifies it even if the WAL is lost.
    connection.execute(f"PRAGMA application_id = {history_file.APPLICATION_ID}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    for statement in statements:
        connection.execute(statement)
    history_file.write_about(connection)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def open_read_only(path: str) -> sqlite3.Connection:
    """Open a history for a short read, with or without a writer; a missing file counts as empty.

    Creates and changes nothing. Raises sqlite3.Error, OSError, HistoryTooNew or HistoryNotOurs.
    """
    history_file.refuse_foreign(path)
    try:
        return _opened(path)[0]
    except FileNotFoundError:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        create(connection)
        return connection


_PAUSES = (0.01, 0.05)


def _opened(path: str) -> tuple[sqlite3.Connection, history_file.AtRest | None]:
    """A connection, and the state of the file when no writer had it open.

    Tries again: a writer that closes at this moment removes the files that a reader beside it needs.
    """

    def attempt() -> tuple[sqlite3.Connection, history_file.AtRest | None]:
        before = history_file.at_rest(path, wait=True)
        connect = history_file.connect_beside if before is None else history_file.connect_untouched
        return _checked(connect(path), path), before

    return retry(attempt, _cannot_open, _PAUSES)


def _checked(connection: sqlite3.Connection, path: str) -> sqlite3.Connection:
    try:
        if not (found := refuse_newer(connection, path)) and history_file.has_our_tables(connection):
            return connection
        if not found:
            raise sqlite3.OperationalError("is not a history of this program yet")
        if found != VERSION:
            raise sqlite3.OperationalError(f"has schema version {found}; the daemon or --once upgrades it to {VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def reading(path: str) -> Iterator[sqlite3.Connection]:
    """A read-only connection for one query; changes nothing, waits a moment at most, needs only read permission.

    Raises HistoryError when the history does not exist or cannot be read, or when a writer that came during the read
    has changed the file, so that wrong data may have been returned. HistoryRefused passes through.
    """
    try:
        history_file.refuse_foreign(path)
        connection, before = _opened(path)
    except FileNotFoundError as error:
        raise HistoryError(f"no history at {path} yet; run agentic-watch --once to create it") from error
    except OSError as error:
        raise HistoryError(f"{path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise _failed(path, error) from error
    with contextlib.closing(connection):
        try:
            yield connection
        except sqlite3.Error as error:
            if before is None or not _has_changed(path, before):
                raise _failed(path, error) from error
    if before is not None and _has_changed(path, before):
        raise HistoryError(f"{path}: was written to while it was read; try again")


def _failed(path: str, error: sqlite3.Error) -> HistoryError:
    if _cannot_open(error):
        return HistoryError(
            f"{path}: {error}; this user needs to read it and the -wal and -shm files beside it "
            "(when no daemon runs and one of the two is missing: run agentic-watch --once as their owner)"
        )
    return HistoryError(f"{path}: {error}")


def _cannot_open(error: Exception) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith(_CANNOT_OPEN)


def _has_changed(path: str, before: history_file.AtRest) -> bool:
    """Whether the file itself was written. What a new writer commits is in its -wal until that is checkpointed."""
    try:
        return history_file.state_of(path) != before
    except OSError:
        return True


class HistoryWatch:
    """Detects writes to the history since the last call, by `PRAGMA data_version` and the file itself.

    https://sqlite.org/pragma.html#pragma_data_version: the value changes when another connection commits.
    """

    def __init__(self, history: str) -> None:
        self._history = history
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._seen: object = None

    def changed(self) -> bool:
        """True at the first call, after a write, and whenever it is unknown."""
        seen = self._look()
        changed = seen is None or seen != self._seen
        self._seen = seen
        return changed

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _look(self) -> object:
        try:
            info = os.stat(self._history)
            wal = os.path.lexists(f"{os.path.realpath(self._history)}-wal")
            file = (info.st_dev, info.st_ino)
            if not wal or file != self._file:
                self.close()
            if not wal:  # no writer now; the file shows earlier writes
                return ("at rest", *file, info.st_mtime_ns, info.st_size)
            if self._connection is None:
                self._connection, self._file = open_read_only(self._history), file
            return ("data_version", *file, self._connection.execute("PRAGMA data_version").fetchone()[0])
        except (OSError, sqlite3.Error):
            self.close()
            return None
