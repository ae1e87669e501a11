"""Opening a history to read it: beside a writer or without one, and without leaving a trace."""

from __future__ import annotations

import os
import sqlite3

AtRest = tuple[int, int, int]
"""Inode, mtime (ns) and size of a history that nobody writes: equal means that nobody wrote in between."""


def at_rest(path: str) -> AtRest | None:
    """What a history without a -wal file looks like; None beside a writer, or after one that was killed.

    Whoever writes makes the -wal file first, and its end leaves the database changed. Raises OSError.
    """
    info = os.stat(path)
    # SQLite resolves symlinks: its files stand beside the file itself.
    if os.path.lexists(f"{os.path.realpath(path)}-wal"):
        return None
    return info.st_ino, info.st_mtime_ns, info.st_size


def connect_read_only(path: str) -> sqlite3.Connection:
    """A connection that sees all that is committed. Raises sqlite3.Error, or OSError when the file is not there.

    Without a -wal file mode=ro would make one, which fails for who may only read the directory, and for who may write
    it leaves a file that is not the daemon's own. https://sqlite.org/wal.html#readonly
    """
    if at_rest(path) is not None:
        return connect_untouched(path)
    return sqlite3.connect(f"file:{_escaped(path)}?mode=ro", uri=True, isolation_level=None)


def connect_untouched(path: str) -> sqlite3.Connection:
    """A connection to the file alone, as it was before what its log holds; touches nothing beside it."""
    return sqlite3.connect(untouched_uri(path), uri=True, isolation_level=None)


def untouched_uri(path: str) -> str:
    """The file alone, for a connection or an ATTACH."""
    return f"file:{_escaped(path)}?mode=ro&immutable=1"


def _escaped(path: str) -> str:
    """A path for a SQLite URI: the three characters that mean something there (https://sqlite.org/uri.html)."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
