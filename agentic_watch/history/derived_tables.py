"""What is derived from the rows, the findings and the search index: does it say what they say? Made anew from them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator

from agentic_watch.history.history_errors import HistoryError

_PATIENCE_SECONDS = 5.0
_OWNED = ("findings", "kept_files")
_ORPHANS = "FROM {} WHERE dispatch_id NOT IN (SELECT id FROM dispatch_history)"
_MISCOUNTED = """
SELECT count(*) FROM dispatch_history AS d
WHERE d.findings_count <> (SELECT count(*) FROM findings WHERE dispatch_id = d.id)"""
# https://sqlite.org/fts5.html: with rank 1 the index is compared with its external content.
_COMPARE = "INSERT INTO dispatch_search (dispatch_search, rank) VALUES ('integrity-check', 1)"
_REBUILD = "INSERT INTO dispatch_search (dispatch_search) VALUES ('rebuild')"


def orphans(connection: sqlite3.Connection) -> int:
    """Findings and kept files of no dispatch."""
    counts = [connection.execute(f"SELECT count(*) {_ORPHANS.format(table)}").fetchone()[0] for table in _OWNED]
    return sum(counts)


def miscounted(connection: sqlite3.Connection) -> int:
    """Dispatches that have not as many findings as they count."""
    (count,) = connection.execute(_MISCOUNTED).fetchone()
    return int(count)


def search_is_sound(path: str) -> bool:
    """Whether the search index matches the rows. Only who may write can ask. Raises HistoryError."""
    with _writing(path) as connection:
        try:
            connection.execute(_COMPARE)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            return False
    return True


def rebuild(path: str) -> None:
    """Drop findings and kept files of no dispatch, and make the search index anew. Raises HistoryError."""
    with _writing(path) as connection:
        for table in _OWNED:
            connection.execute(f"DELETE {_ORPHANS.format(table)}")
        connection.execute(_REBUILD)


@contextlib.contextmanager
def _writing(path: str) -> Iterator[sqlite3.Connection]:
    # Not History: for that a malformed index is a malformed file, which it would set aside.
    if not os.path.exists(path):
        raise HistoryError(f"{path}: is not there")
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_PATIENCE_SECONDS)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            yield connection
    except sqlite3.Error as error:
        raise HistoryError(f"{path}: {error}") from error
