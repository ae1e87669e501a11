"""A history that SQLite calls corrupt: is it, by a look that changes nothing, and where does it go? What does one that
was replaced leave behind?"""

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
"""Those of the -wal and -shm files that a connection uses."""


def looks_corrupt(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file is damaged, rather than out of reach."""
    return any(text in str(error) for text in _CORRUPT)


def log_inodes(path: str) -> LogInodes:
    """Which -wal and -shm files lie beside a history now."""
    real = os.path.realpath(path)
    wal, shm = (history_file.inode_of(real + suffix) for suffix in _LOG)
    return wal, shm


def leave_behind(connection: sqlite3.Connection, path: str, logs: LogInodes, patience_ms: int) -> None:
    """Close a connection to a file that is not at `path` any more, and remove its log from there.

    SQLite leaves the log of a file that was moved, and would take it for that of the file which stands there now.
    What the log holds goes into the old file first, wherever that is. Raises OSError.
    """
    with contextlib.closing(connection):
        with contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with directory_lock(os.path.dirname(path), patience_ms):
            # While the connection is open their numbers cannot be those of other files.
            for suffix, inode, there in zip(_LOG, logs, log_inodes(path), strict=True):
                if inode is not None and inode == there:
                    os.unlink(os.path.realpath(path) + suffix)


def set_aside(path: str, cause: str, patience_ms: int, *, known: Inode | None, close: Callable[[], None]) -> str | None:
    """Move a corrupt history out of the way, with its log; gives a notice, None when it is left where it is.

    Only a file that is known to be a history of ours, since it says so itself or since this process had it open
    (`known`), is moved. The journals will fill a new one. When the file is sound without its log, the log is of another
    file, and only that is moved. `close` closes this process's own connection. Raises OSError.
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
        # Not before: SQLite copies the log into the file when it is closed, but not into one that was moved.
        close()
        if log_only:
            os.rename(aside, path)
            return f"{path}: {cause}; its log is of another file, and was moved to {aside}-wal"
    return f"{path}: {cause}; moved to {aside}. A new history is being rebuilt from the journals"


def _is_corrupt(path: str, connect: Callable[[str], sqlite3.Connection]) -> bool:
    """Whether the file as it is now is corrupt: another process may have replaced it already."""
    try:
        with contextlib.closing(connect(path)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok")
    except (FileNotFoundError, sqlite3.OperationalError):
        return False
    except sqlite3.DatabaseError:
        return True
