"""Opening the history to write it: whose is it, which schema, and how durable is what is written?"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator

from agentic_watch.history import dumped, ownership, row_count, schema
from agentic_watch.history.schema import OnProgress
from agentic_watch.history.state_directory import directory_lock, make_directories


def open_to_write(path: str, patience_ms: int, notices: list[str], on_progress: OnProgress) -> sqlite3.Connection:
    """A connection to the history, which is made or upgraded when it must be; the latter becomes a notice.

    Raises HistoryNotOurs or HistoryTooNew before anything was touched, sqlite3.Error or OSError when it cannot be
    used now.
    """
    directory = os.path.dirname(path)
    make_directories(directory)
    with directory_lock(directory, patience_ms):
        is_there = ownership.refuse_foreign(path)
        if is_there:
            schema.refuse_newer_file(path)
        # Two threads use it, one after the other (commit/batch.py).
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {patience_ms}")
            found = schema.refuse_newer(connection, path) if is_there else 0
            if not found and dumped.is_ours(connection):
                schema.adopt(connection)
                notices.append(f"{path}: had no schema version, as what is loaded from a dump; its tables are ours")
            elif not found and dumped.names(connection):
                raise dumped.refusal(path)
            elif not found:  # also one whose making was ended by a kill
                schema.create(connection)
            elif found != schema.VERSION:
                _upgrade(connection, path, found, notices, on_progress)
            _set_up(connection)
            _take_stock(connection, path, notices)
        except BaseException:
            connection.close()
            raise
    return connection


def _upgrade(
    connection: sqlite3.Connection, path: str, found: int, notices: list[str], on_progress: OnProgress
) -> None:
    started = time.monotonic()
    backup = schema.upgrade(connection, path, on_progress)
    notices.append(
        f"{path}: was upgraded from schema {found} to {schema.VERSION} in {time.monotonic() - started:.1f} s; "
        f"as it was, it lies in {backup}"
    )


def _set_up(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":  # a copy that VACUUM INTO made
        connection.execute("PRAGMA journal_mode = WAL")
    # FULL: the row must survive a power cut before the marker vouches for it.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    # A group of 256 rows changes more than SQLite's 1,000 pages in a large history: it would copy its log
    # into the file at each commit.
    connection.execute("PRAGMA wal_autocheckpoint = 4000")


def _take_stock(connection: sqlite3.Connection, path: str, notices: list[str]) -> None:
    if row_count.is_in_order(connection, path):
        return
    with transaction(connection):
        notices.append(f"{path}: {row_count.take_stock(connection)}")


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE … COMMIT: the write lock is taken, or waited for, before anything is read."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
