"""The history's schema: which version a file has, how a new one is made and an older one brought up to date."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator

from agentic_watch.history import dumped, ownership
from agentic_watch.history.history_errors import HistoryTooNew
from agentic_watch.history.read_only import connect_read_only

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


def create(connection: sqlite3.Connection) -> None:
    """Make the tables of a new history, which needs no migrator and not its import."""
    from agentic_watch.history import table_definitions as tables  # who only reads needs none of them

    # Before the log is there: the file's own header says whose it is, whatever becomes of the log.
    connection.execute(f"PRAGMA application_id = {ownership.APPLICATION_ID}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    for statement in tables.CREATE:
        connection.execute(statement)
    _write_about(connection)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def adopt(connection: sqlite3.Connection) -> None:
    """Give a history that was loaded from a dump the numbers of its header. Its tables must be ours (dumped.py)."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(f"PRAGMA application_id = {ownership.APPLICATION_ID}")
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
            connection.execute(f"PRAGMA application_id = {ownership.APPLICATION_ID}")
            os.rename(f"{backup}.part", backup)
            connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for unused in (backup, f"{backup}.part"):
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
        if name.startswith(f"{base}.backup-v") and name.endswith(".part"):
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
    ownership.refuse_foreign(path)
    try:
        connection = connect_read_only(path)
    except FileNotFoundError:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        create(connection)
        return connection
    try:
        if not (found := refuse_newer(connection, path)) and dumped.is_ours(connection):
            return connection
        if not found:
            raise sqlite3.OperationalError("is not a history of this program yet")
        if found != VERSION:
            raise sqlite3.OperationalError(f"has schema version {found}; the daemon or --once brings it to {VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection
