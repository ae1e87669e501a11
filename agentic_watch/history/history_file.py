"""The history as a file: whether it is ours (checked before SQLite may change it), reading without side effects, and
the lock of its directory.

The configured path may be wrong. A history without the numbers in its header, as after `sqlite3 OLD .dump | sqlite3
NEW`, is recognised by its tables.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sqlite3
import stat
import time
from collections import Counter
from collections.abc import Iterator

from agentic_watch.history import HistoryNotOurs, HistoryTooNew
from agentic_watch.host.retry import every, wait_until

APPLICATION_ID = 1_095_194_433
"""`PRAGMA application_id` of a history of ours, schema 3 and on."""
VERSION = 4
"""`PRAGMA user_version` of a history that this program writes."""

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_APPLICATION_ID_AT = slice(68, 72)
"""https://sqlite.org/fileformat2.html#the_database_header"""

_LARGEST_FRESH = 1 << 16
"""Maximum size of a database whose tables are all in its WAL."""

Inode = tuple[int, int]
"""(device, inode): identifies the file, whatever its name."""

_connected: Counter[Inode] = Counter()
"""Histories that this process has open. They are not opened a second time for checks: closing any descriptor of a file
releases this process's locks on it (fcntl(2)), including SQLite's."""


def register(inode: Inode) -> None:
    """Note that a history was opened and stays open."""
    _connected[inode] += 1


def unregister(inode: Inode) -> None:
    """Note that it was closed."""
    _connected[inode] -= 1


def inode_of(path: str) -> Inode | None:
    """The file at a path; None when there is none. Raises OSError."""
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return None
    return info.st_dev, info.st_ino


def refuse_foreign(path: str) -> bool:
    """Whether a history of ours is at `path`; False when the file does not exist or is empty.

    Only reads, and creates no other file. Raises HistoryNotOurs, or OSError when it cannot be read.
    """
    inode = inode_of(path)
    if inode is None:
        return False
    if _connected[inode] > 0:
        return True
    header = _header(path)
    if not header:
        return False
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise _refusal(path, "no SQLite database")
    if (found := int.from_bytes(header[_APPLICATION_ID_AT])) == APPLICATION_ID:
        return True
    if found:
        raise _refusal(path, "another program's database")
    return _has_tables_of_ours(path)


def is_ours_by_header(path: str) -> bool:
    """Whether the header of a file, valid or corrupt, is that of our history."""
    try:
        header = _header(path)
    except (OSError, HistoryNotOurs):
        return False
    return header.startswith(_MAGIC) and int.from_bytes(header[_APPLICATION_ID_AT]) == APPLICATION_ID


def _header(path: str) -> bytes:
    # Must not block on a FIFO or a lease.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise _refusal(path, "no plain file") from error
        raise
    try:
        if not stat.S_ISREG(mode := os.fstat(descriptor).st_mode) and not stat.S_ISDIR(mode):
            raise _refusal(path, "no plain file")
        return os.pread(descriptor, _HEADER_BYTES, 0)  # a directory gives EISDIR, which is not final: it may be removed
    finally:
        os.close(descriptor)


def _has_tables_of_ours(path: str) -> bool:
    """Recognise by its tables a history without application_id: of an early schema, or loaded from a dump."""
    tables, number, is_ours = _look(path)
    if not tables and os.path.lexists(_log(path)) and os.path.getsize(path) <= _LARGEST_FRESH:
        import shutil  # rarely needed
        import tempfile

        with tempfile.TemporaryDirectory() as directory:  # a copy, in which SQLite may replay the WAL
            copy = shutil.copyfile(path, f"{directory}/history.db")
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(_log(path), f"{copy}-wal")
            tables, number, is_ours = _look(copy, with_log=True)
    if tables >= TABLES and (number or is_ours):
        return True
    if tables >= TABLES:
        raise refusal_of_dump(path)
    if tables or number:
        raise _refusal(path, f"another program's database (schema version {number}; no upgrade of ours leads there)")
    return False


def _look(path: str, *, with_log: bool = False) -> tuple[set[str], int, bool]:
    """Names of a database's tables, its user_version, and if that is 0, whether the tables are ours."""
    try:
        with contextlib.closing(sqlite3.connect(path) if with_log else connect_untouched(path)) as connection:
            (number,) = connection.execute("PRAGMA user_version").fetchone()
            names = table_names(connection)
            return names, number, number == 0 and names >= TABLES and has_our_tables(connection)
    except sqlite3.DatabaseError as error:
        raise _refusal(path, f"a database that cannot be read ({error})") from error


def _log(path: str) -> str:
    return f"{os.path.realpath(path)}-wal"


def _refusal(path: str, cause: str) -> HistoryNotOurs:
    return HistoryNotOurs(
        f"{path}: is {cause}, not a history of agentic-watch; nothing in it was changed. Name the history's own file "
        "with --history or [history] path"
    )


# --- by its numbers


def refuse_newer(connection: sqlite3.Connection, path: str) -> int:
    """The schema version of an open history; 0 for an empty file. Raises HistoryTooNew before any change."""
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > VERSION:
        raise HistoryTooNew(
            f"{path}: has schema version {found}, this program knows {VERSION}; upgrade agentic-watch, "
            "or name another file with --history"
        )
    return found


def write_about(connection: sqlite3.Connection) -> None:
    """Give the history its permanent id."""
    if connection.execute("SELECT count(*) FROM about").fetchone() != (0,):
        return
    import uuid  # rarely needed

    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    connection.execute("INSERT INTO about (history_id, created_at) VALUES (?, ?)", (str(uuid.uuid4()), now))


# --- by its tables

TABLES = frozenset({"dispatch_history", "findings", "workspaces"})
"""Tables in every schema of a history."""

_RECORD = ("dispatch_history", "findings", "kept_files", "open_runs", "workspaces", "about", "upkeep")


def table_names(connection: sqlite3.Connection) -> set[str]:
    """The names of a database's tables."""
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def has_our_tables(connection: sqlite3.Connection) -> bool:
    """Whether all tables and columns are those of this program's schema."""
    from agentic_watch.history import table_definitions as tables  # rarely needed

    with contextlib.closing(sqlite3.connect(":memory:")) as wanted:
        for statement in tables.CREATE:
            wanted.execute(statement)
        return _columns(connection) == _columns(wanted) and "dispatch_search" in table_names(connection)


def refusal_of_dump(path: str) -> HistoryNotOurs:
    """The error for a file that has a history's tables, but neither a version nor today's columns."""
    return HistoryNotOurs(
        f"{path}: has the tables of a history, but no schema version and not today's columns; nothing was changed. "
        f"`agentic-watch --history NEW import {path}` takes its dispatches into another history"
    )


def _columns(connection: sqlite3.Connection) -> list[tuple[object, ...]]:
    sql = 'SELECT name, type, "notnull", pk FROM pragma_table_info(?) ORDER BY cid'
    return [(table, *column) for table in _RECORD for column in connection.execute(sql, (table,))]


# --- reading without side effects

AtRest = tuple[int, int, int]
"""Inode, mtime (ns) and size of a history without a writer: equal values mean no write in between."""

_TICK_SECONDS = 0.02
"""Longer than a tick of the clock of a file's times, within which two writes leave the same time."""


def at_rest(path: str, *, wait: bool = False) -> AtRest | None:
    """The state of a history without a -wal file; None beside a writer, or after a killed one. `wait` until the next
    write would leave another time.

    A writer creates the -wal file first, and changes the database when it closes. Raises OSError.
    """
    is_in_use = os.path.lexists(_log(path))
    state = state_of(path)
    if is_in_use:
        return None
    if wait and 0 <= time.time_ns() - state[1] < _TICK_SECONDS * 1e9:
        time.sleep(_TICK_SECONDS)
        return at_rest(path)
    return state


def state_of(path: str) -> AtRest:
    """The state of the file itself, with or without a writer. Raises OSError."""
    info = os.stat(path)
    return info.st_ino, info.st_mtime_ns, info.st_size


def connect_read_only(path: str) -> sqlite3.Connection:
    """A connection that sees everything committed. Raises sqlite3.Error, or OSError when the file does not exist."""
    return connect_untouched(path) if at_rest(path) is not None else connect_beside(path)


def connect_beside(path: str) -> sqlite3.Connection:
    """A connection beside a writer.

    Without a -wal file, mode=ro would create one: that fails without write permission on the directory, and otherwise
    leaves a file with the wrong owner. https://sqlite.org/wal.html#readonly
    """
    return sqlite3.connect(f"file:{_escaped(path)}?mode=ro", uri=True, isolation_level=None)


def connect_untouched(path: str) -> sqlite3.Connection:
    """A connection to the file without its WAL, which creates no other file."""
    return sqlite3.connect(untouched_uri(path), uri=True, isolation_level=None)


def untouched_uri(path: str) -> str:
    """The URI of the file without its WAL, for a connection or an ATTACH."""
    return f"file:{_escaped(path)}?mode=ro&immutable=1"


def _escaped(path: str) -> str:
    """Escape a path for a SQLite URI (https://sqlite.org/uri.html)."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


# --- its directory


def make_directories(directory: str) -> None:
    """Create the history's directory durably: SQLite syncs its entries, but not its parents."""
    if os.path.isdir(directory):
        return
    parent = os.path.dirname(directory)
    make_directories(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory)
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def directory_lock(directory: str, patience_ms: int) -> Iterator[None]:
    """The lock under which a history is created, upgraded or moved aside. Closing the descriptor releases it.

    Raises OSError when another process does not release it in time.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not wait_until(lambda: _try_lock(descriptor), every(0.01, patience_ms / 1000)):
            raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock on its directory")
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
