"""Handles a history that SQLite reports as corrupt: verifies it without changes and moves it aside. Also cleans up
after a history that was replaced."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable

from agentic_watch.history import history_file
from agentic_watch.history.history_file import Inode, connect_read_only, connect_untouched, directory_lock

_CORRUPT = ("file is not a database", "database disk image is malformed", "file is encrypted")
_LOG = ("-wal", "-shm")

LogInodes = tuple[Inode | None, Inode | None]
"""Inodes of the -wal and -shm files that a connection uses."""


def looks_corrupt(error: sqlite3.Error) -> bool:
    """Whether an error means that the file is corrupt, and not only unavailable."""
    return any(text in str(error) for text in _CORRUPT)


def log_inodes(path: str) -> LogInodes:
    """The current -wal and -shm files of a history."""
    real = os.path.realpath(path)
    wal, shm = (history_file.inode_of(real + suffix) for suffix in _LOG)
    return wal, shm


def leave_behind(connection: sqlite3.Connection, path: str, logs: LogInodes, patience_ms: int) -> None:
    """Close a connection to a file that is no longer at `path`, and remove its WAL from there.

    SQLite would leave the WAL of a moved file, and then use it for the new file at `path`. Its content is checkpointed
    into the old file first. Raises OSError.
    """
    with contextlib.closing(connection):
        with contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with directory_lock(os.path.dirname(path), patience_ms):
            # While the connection is open, these inodes cannot be reused for other files.
            for suffix, inode, there in zip(_LOG, logs, log_inodes(path), strict=True):
                if inode is not None and inode == there:
                    os.unlink(os.path.realpath(path) + suffix)


def set_aside(path: str, cause: str, patience_ms: int, *, known: Inode | None, close: Callable[[], None]) -> str | None:
    """Move a corrupt history aside, with its WAL; returns a notice, None when nothing was moved.

    Only a file known to be ours is moved: by its header, or because this process had it open (`known`). A new history
    is then filled from the journals. If the file is valid without its WAL, the WAL belongs to another file, and only
    the WAL is moved. `close` closes this process's connection. Raises OSError.
    """
    with directory_lock(os.path.dirname(path), patience_ms):
        if not (history_file.is_ours_by_header(path) or (known is not None and history_file.inode_of(path) == known)):
            return None
        if not _is_corrupt(path, connect_read_only):
            return None
        log_only = log_inodes(path)[0] is not None and not _is_corrupt(path, connect_untouched)
        aside = f"{path}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        for suffix in (*_LOG, ""):
            with contextlib.suppress(FileNotFoundError):
                os.rename(path + suffix, aside + suffix)
        # Close only after the move: on close SQLite checkpoints the WAL into the file, but not into a moved one.
        close()
        if log_only:
            os.rename(aside, path)
            return f"{path}: {cause}; its WAL belongs to another file and was moved to {aside}-wal"
    return f"{path}: {cause}; moved to {aside}. A new history is being rebuilt from the journals"


def _is_corrupt(path: str, connect: Callable[[str], sqlite3.Connection]) -> bool:
    """Whether the current file is corrupt: another process may have replaced it already."""
    try:
        with contextlib.closing(connect(path)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok")
    except (FileNotFoundError, sqlite3.OperationalError):
        return False
    except sqlite3.DatabaseError:
        return True
