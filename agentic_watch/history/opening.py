"""Opening the history, to write or to read: which schema it has, how a new one is made and an older one brought up to
date, and how durable is what is written."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator

from agentic_watch.history import HistoryTooNew, history_file, row_count
from agentic_watch.history.history_file import connect_read_only, directory_lock, make_directories

VERSION = 4
"""`PRAGMA user_version` of a history that this program writes."""

_COPIED_PAGES = 2_000
_STEPS_BETWEEN_WORDS = 100_000
"""Of SQLite's machine: some milliseconds."""

OnProgress = Callable[[str], None]
"""Called often during a long upgrade, with what is being done: whoever waits for us hears that we live."""


def version(connection: sqlite3.Connection) -> int:
    """The schema version of an open history; 0 is an empty file."""
    number: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return number


def refuse_newer(connection: sqlite3.Connection, path: str) -> int:
    """The schema version. Raises HistoryTooNew before anything is changed."""
    found = version(connection)
    if found > VERSION:
        raise HistoryTooNew(
            f"{path}: has schema version {found}, this program knows {VERSION}; upgrade agentic-watch, "
            "or name another file with --history"
        )
    return found


def refuse_newer_file(path: str) -> None:
    """Raise HistoryTooNew for a newer program's history while nothing has touched it.

    A writer's connection, even one that only looked, checkpoints a log that it finds when it is closed.
    """
    with contextlib.closing(connect_read_only(path)) as connection:
        refuse_newer(connection, path)


def open_to_write(path: str, patience_ms: int, notices: list[str], on_progress: OnProgress) -> sqlite3.Connection:
    """A connection to the history, which is made or upgraded when it must be; the latter becomes a notice.

    Raises HistoryNotOurs or HistoryTooNew before anything was touched, sqlite3.Error or OSError when it cannot be
    used now.
    """
    directory = os.path.dirname(path)
    make_directories(directory)
    with directory_lock(directory, patience_ms):
        is_there = history_file.refuse_foreign(path)
        if is_there:
            refuse_newer_file(path)
        # Two threads use it, one after the other (commit/batches.py).
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {patience_ms}")
            found = refuse_newer(connection, path) if is_there else 0
            if not found and history_file.has_our_tables(connection):
                adopt(connection)
                notices.append(f"{path}: had no schema version, as what is loaded from a dump; its tables are ours")
            elif not found and history_file.table_names(connection):
                raise history_file.refusal_of_dump(path)
            elif not found:  # also one whose making was ended by a kill
                create(connection)
            elif found != VERSION:
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
    backup = upgrade(connection, path, on_progress)
    notices.append(
        f"{path}: was upgraded from schema {found} to {VERSION} in {time.monotonic() - started:.1f} s; "
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
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        notices.append(f"{path}: {row_count.take_stock(connection)}")


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of a new history, which needs no migrator and not its import."""
    from agentic_watch.history import table_definitions as tables  # who only reads needs none of them

    # Before the log is there: the file's own header says whose it is, whatever becomes of the log.
    connection.execute(f"PRAGMA application_id = {history_file.APPLICATION_ID}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    for statement in tables.CREATE:
        connection.execute(statement)
    _write_about(connection)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def adopt(connection: sqlite3.Connection) -> None:
    """Give a history that was loaded from a dump the numbers of its header, where `has_our_tables`."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {history_file.APPLICATION_ID}")
    _write_about(connection)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def upgrade(connection: sqlite3.Connection, path: str, on_progress: OnProgress) -> str:
    """Bring an older history to this program's schema; gives the name of the copy made of it before.

    The lock comes first, so that an upgrade that cannot be done now costs no copy; a copy that was made for nothing is
    removed. Raises sqlite3.Error, OSError.
    """
    from agentic_watch.history import migrations  # rarely needed

    connection.execute("PRAGMA foreign_keys = OFF")  # else a table that is made anew takes its findings along
    connection.execute("PRAGMA legacy_alter_table = ON")  # views that name it are not looked at while it is away
    connection.execute("BEGIN IMMEDIATE")
    found = version(connection)
    backup = f"{path}.backup-v{found}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    try:
        _remove_unfinished_copies(path)
        _copy(path, f"{backup}.part", lambda: on_progress(f"copying the history to {backup}"))
        said = f"upgrading the history from schema {found} to {VERSION}"
        with telling(connection, lambda: on_progress(said)):
            migrations.migrate(connection, found)
            _write_about(connection)
            connection.execute(f"PRAGMA application_id = {history_file.APPLICATION_ID}")
            os.rename(f"{backup}.part", backup)
            connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for unused in (backup, f"{backup}.part", f"{backup}.part-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(unused)
        raise
    with contextlib.suppress(sqlite3.OperationalError):  # a reader holds it up; the header says later whose it is
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return backup


def _remove_unfinished_copies(path: str) -> None:
    """What a killed upgrade left; another one cannot be under way while its lock is ours."""
    directory, base = os.path.split(path)
    for name in os.listdir(directory):
        if name.startswith(f"{base}.backup-v") and name.endswith((".part", ".part-journal")):
            os.unlink(os.path.join(directory, name))


def _copy(path: str, target: str, on_progress: Callable[[], None]) -> None:
    """Copy the history while its writer's lock is held, durably."""
    with (
        contextlib.closing(connect_read_only(path)) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy, pages=_COPIED_PAGES, progress=lambda *_: on_progress())
    descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def telling(connection: sqlite3.Connection, on_progress: Callable[[], None]) -> Iterator[None]:
    """Call `on_progress` every some milliseconds of what the connection does."""
    connection.set_progress_handler(on_progress, _STEPS_BETWEEN_WORDS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)


def _write_about(connection: sqlite3.Connection) -> None:
    """Give the history its id, for good."""
    if connection.execute("SELECT count(*) FROM about").fetchone() != (0,):
        return
    import uuid  # rarely needed

    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    connection.execute("INSERT INTO about (history_id, created_at) VALUES (?, ?)", (str(uuid.uuid4()), now))


def open_read_only(path: str) -> sqlite3.Connection:
    """Open a history for a short look, beside a writer or without one; one that is not there yet is empty.

    Nothing is made or changed. Raises sqlite3.Error, OSError, HistoryTooNew or HistoryNotOurs.
    """
    history_file.refuse_foreign(path)
    try:
        connection = connect_read_only(path)
    except FileNotFoundError:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        create(connection)
        return connection
    try:
        if not (found := refuse_newer(connection, path)) and history_file.has_our_tables(connection):
            return connection
        if not found:
            raise sqlite3.OperationalError("is not a history of this program yet")
        if found != VERSION:
            raise sqlite3.OperationalError(f"has schema version {found}; the daemon or --once brings it to {VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection
