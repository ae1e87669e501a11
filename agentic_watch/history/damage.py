"""A damaged history: is it, by a look that changes nothing, and where does it go?"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time

from agentic_watch.history import ownership
from agentic_watch.history.read_only import connect_read_only
from agentic_watch.history.state_directory import directory_lock

_CORRUPT = ("file is not a database", "database disk image is malformed", "file is encrypted")


def looks_corrupt(error: sqlite3.Error) -> bool:
    """Whether SQLite says that the file is damaged, rather than out of reach."""
    return any(text in str(error) for text in _CORRUPT)


def set_aside(path: str, cause: str, patience_ms: int, *, known: ownership.Inode | None) -> str | None:
    """Move a corrupt history out of the way, with its log; gives a notice, None when it is left where it is.

    Only a file that is known to be a history of ours, since it says so itself or since this process had it open
    (`known`), is moved. The journals will fill a new one. Raises OSError.
    """
    with directory_lock(os.path.dirname(path), patience_ms):
        if not (ownership.is_ours_by_header(path) or (known is not None and ownership.inode_of(path) == known)):
            return None
        if not _is_corrupt(path):
            return None
        aside = f"{path}.corrupt-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.rename(path + suffix, aside + suffix)
    return f"{path}: {cause}; moved to {aside}. A new history is being rebuilt from the journals"


def _is_corrupt(path: str) -> bool:
    """Whether the file as it is now is corrupt: another process may have replaced it already."""
    try:
        with contextlib.closing(connect_read_only(path)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok")
    except (FileNotFoundError, sqlite3.OperationalError):
        return False
    except sqlite3.DatabaseError:
        return True
