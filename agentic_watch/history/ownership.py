"""Whose file is this? Told without touching it, before SQLite may: somebody may have named the wrong one."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
from collections import Counter

from agentic_watch.history import dumped
from agentic_watch.history.history_errors import HistoryNotOurs
from agentic_watch.history.read_only import connect_untouched

APPLICATION_ID = 1_095_194_433
"""`PRAGMA application_id` of a history of ours, schema 3 and on."""

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_APPLICATION_ID_AT = slice(68, 72)
"""https://sqlite.org/fileformat2.html#the_database_header"""

_LARGEST_FRESH = 1 << 16
"""Bytes of a database whose tables are all in its log."""

Inode = tuple[int, int]
"""(device, inode): the file itself, whatever its name."""

_connected: Counter[Inode] = Counter()
"""Histories that this process has open, and so knows. They are not opened again to be looked at: closing any
descriptor of a file drops this process's locks on it (fcntl(2)), and SQLite's with them."""


def took(inode: Inode) -> None:
    """A history was opened to be kept open."""
    _connected[inode] += 1


def gave_back(inode: Inode) -> None:
    """And closed again."""
    _connected[inode] -= 1


def inode_of(path: str) -> Inode | None:
    """The file at a path; None when there is none. Raises OSError."""
    try:
        info = os.stat(path)
    except FileNotFoundError:
        return None
    return info.st_dev, info.st_ino


def refuse_foreign(path: str) -> bool:
    """Whether a history of ours is at `path`; False when nothing is there, or an empty file.

    Only reads, and no file beside it either. Raises HistoryNotOurs, or OSError when it cannot be looked at.
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
    """Whether a file, sound or not, says at its beginning that it is a history of ours."""
    try:
        header = _header(path)
    except (OSError, HistoryNotOurs):
        return False
    return header.startswith(_MAGIC) and int.from_bytes(header[_APPLICATION_ID_AT]) == APPLICATION_ID


def _header(path: str) -> bytes:
    # A FIFO must not hold us up, nor a lease.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise _refusal(path, "no plain file") from error
        raise
    try:
        if not stat.S_ISREG(mode := os.fstat(descriptor).st_mode) and not stat.S_ISDIR(mode):
            raise _refusal(path, "no plain file")
        return os.pread(descriptor, _HEADER_BYTES, 0)  # of a directory: EISDIR, it stands in the way and may go
    finally:
        os.close(descriptor)


def _has_tables_of_ours(path: str) -> bool:
    """The first schemas had no application_id, and what was loaded from a dump has none: their tables tell."""
    tables, number, is_ours = _look(path)
    if not tables and os.path.lexists(_log(path)) and os.path.getsize(path) <= _LARGEST_FRESH:
        import shutil  # rarely needed
        import tempfile

        with tempfile.TemporaryDirectory() as directory:  # to look into its log where SQLite may
            copy = shutil.copyfile(path, f"{directory}/history.db")
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(_log(path), f"{copy}-wal")
            tables, number, is_ours = _look(copy, with_log=True)
    if tables >= dumped.TABLES and (number or is_ours):
        return True
    if tables >= dumped.TABLES:
        raise dumped.refusal(path)
    if tables or number:
        raise _refusal(path, f"another program's database (schema version {number}; no upgrade of ours leads there)")
    return False


def _look(path: str, *, with_log: bool = False) -> tuple[set[str], int, bool]:
    """The names of a database's tables, its user_version, and when that is 0 whether the tables are ours."""
    try:
        with contextlib.closing(sqlite3.connect(path) if with_log else connect_untouched(path)) as connection:
            (number,) = connection.execute("PRAGMA user_version").fetchone()
            names = dumped.names(connection)
            return names, number, number == 0 and names >= dumped.TABLES and dumped.is_ours(connection)
    except sqlite3.DatabaseError as error:
        raise _refusal(path, f"a database that cannot be read ({error})") from error


def _log(path: str) -> str:
    return f"{os.path.realpath(path)}-wal"


def _refusal(path: str, cause: str) -> HistoryNotOurs:
    return HistoryNotOurs(
        f"{path}: is {cause}, not a history of agentic-watch; nothing in it was changed. Name the history's own file "
        "with --history or [history] path"
    )
