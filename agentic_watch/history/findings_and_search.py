"""The data derived from dispatches, findings and the search index: written, compared and rebuilt here.

Findings are inserted with their rows; the search index takes in rows in groups. While either is damaged, rows are
inserted without it. `upkeep.searched_to` is the id up to which both are complete; `upkeep.lost` names what is damaged
and has to be rebuilt: "search", or "findings", from which the search is made too.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from agentic_watch.history import HistoryError
from agentic_watch.history import table_definitions as tables
from agentic_watch.history.columns import finding_values, report_of

MOST_WAITING = 512
"""Dispatches that may wait for the search index before an insert adds them: a search reads each waiting one."""
_AT_ONCE = 2 * MOST_WAITING
_PATIENCE_SECONDS = 5.0
_TRANSIENT = (
    "BUSY",
    "LOCKED",
    "FULL",
    "IOERR",
    "NOMEM",
    "INTERRUPT",
    "READONLY",
    "CANTOPEN",
    "PERM",
    "AUTH",
    "PROTOCOL",
)
_NEXT = "SELECT max(id) FROM (SELECT id FROM dispatch_history WHERE id > ? ORDER BY id LIMIT ?)"
_WITHOUT_FINDINGS = (
    "SELECT id, report FROM dispatch_history WHERE id > ? AND id <= ? AND findings_count > 0 "
    "AND NOT EXISTS (SELECT 1 FROM findings WHERE dispatch_id = dispatch_history.id)"
)
_ADD_LACKING = (
    f"{tables.ADD_TO_SEARCH} WHERE id > ? AND id <= ? "
    "AND NOT EXISTS (SELECT 1 FROM dispatch_search_docsize AS there WHERE there.id = dispatch_text.id)"
)
# SQL of an operator may have added it without findings: FTS5 must be given the same text to delete it.
_TAKE_OUT = (
    f"{tables.TAKE_FROM_SEARCH} WHERE id = ? "
    "AND EXISTS (SELECT 1 FROM dispatch_search_docsize AS there WHERE there.id = dispatch_text.id)"
)
_OWNED = ("findings", "kept_files")
_ORPHANS = "FROM {} WHERE dispatch_id NOT IN (SELECT id FROM dispatch_history)"
_MISCOUNTED = """
SELECT count(*) FROM dispatch_history AS d
WHERE d.findings_count <> (SELECT count(*) FROM findings WHERE dispatch_id = d.id)"""
# https://sqlite.org/fts5.html: rank 1 compares the index with its external content.
_COMPARE = "INSERT INTO dispatch_search (dispatch_search, rank) VALUES ('integrity-check', 1)"
_REBUILD = "INSERT INTO dispatch_search (dispatch_search) VALUES ('rebuild')"

_T = TypeVar("_T")


class _Damaged(Exception):
    """Findings or search cannot be written."""

    def __init__(self, error: sqlite3.Error) -> None:
        super().__init__(str(error))
        self.error = error


def is_of_search(error: sqlite3.Error) -> bool:
    """Whether an error means a damaged search index, for which FTS5 has a separate code."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_CORRUPT_VTAB"


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error while writing findings or search means damage, and not a transient failure."""
    name = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_")
    return not name.startswith(_TRANSIENT)


def is_complete(connection: sqlite3.Connection) -> bool:
    """Whether findings and search have all dispatches."""
    searched_to, lost = connection.execute("SELECT searched_to, lost FROM upkeep").fetchone()
    return lost is None and connection.execute(_NEXT, (searched_to, 1)).fetchone() == (None,)


def give_up(connection: sqlite3.Connection, error: sqlite3.Error) -> None:
    """Mark the damaged part as lost, so that later inserts omit it."""
    in_a_table = getattr(error, "sqlite_errorname", "") == "SQLITE_CORRUPT"
    connection.execute("UPDATE upkeep SET lost = ?", ("findings" if in_a_table else "search",))


def past_damage(
    connection: sqlite3.Connection, act: Callable[[], _T], on_damage: Callable[[sqlite3.Error], None]
) -> _T:
    """Run `act`, which is all that the caller's transaction does, and return its result; on damage, retry without the
    damaged part and call `on_damage`.

    Damage must occur twice: a failed read looks like damage too, and may not fail again (SQLITE_IOERR_CORRUPTFS).
    """
    for _ in range(2):
        try:
            return act()
        except _Damaged as damaged:
            _begin_anew(connection)
            error = damaged.error
    give_up(connection, error)
    given = act()
    on_damage(error)
    return given


def _begin_anew(connection: sqlite3.Connection) -> None:
    """Roll back a transaction and begin another one."""
    if connection.in_transaction:  # some errors end the transaction
        connection.execute("ROLLBACK")
    connection.execute("BEGIN IMMEDIATE")


@contextlib.contextmanager
def _noticing_damage() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise _Damaged(error) from error
        raise


def add(connection: sqlite3.Connection, findings: Sequence[tuple[Any, ...]], new: int) -> None:
    """Insert the findings of `new` dispatches, and let the search index take in waiting ones if `new` is not 0."""
    with _noticing_damage():
        connection.executemany(tables.INSERT_FINDING, findings)
        if new:
            _take_in(connection, _AT_ONCE + 2 * new)


def index_waiting(connection: sqlite3.Connection) -> None:
    """Create `temp.waiting_search` for this connection: an index in memory of the newest dispatches that the search
    index does not have yet. Usually empty."""
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(tables.WAITING_SEARCH)
    connection.execute(tables.ADD_WAITING)


def catch_up(connection: sqlite3.Connection) -> bool:
    """Rebuild what is damaged, and add the next missing dispatches to findings and search; returns whether they are
    complete.

    Runs in the caller's transaction. Raises sqlite3.Error when rebuilding fails.
    """
    (lost,) = connection.execute("SELECT lost FROM upkeep").fetchone()
    if lost is not None:
        _make_anew(connection, findings=lost == "findings")
        connection.execute("UPDATE upkeep SET lost = NULL, searched_to = 0")
    with _noticing_damage():
        return _take_in(connection, _AT_ONCE)


def _take_in(connection: sqlite3.Connection, most: int) -> bool:
    (start,) = connection.execute("SELECT searched_to FROM upkeep").fetchone()
    (end,) = connection.execute(_NEXT, (start, most)).fetchone()
    if end is None:
        return True
    for number, report in connection.execute(_WITHOUT_FINDINGS, (start, end)).fetchall():
        items = report_of(report).get("findings")
        if isinstance(items, list):
            values = [(number, *finding_values(item)) for item in items if isinstance(item, dict)]
            connection.execute(_TAKE_OUT, (number,))
            connection.executemany(tables.INSERT_FINDING, values)
    connection.execute(_ADD_LACKING, (start, end))
    connection.execute("UPDATE upkeep SET searched_to = ?", (end,))
    return bool(connection.execute(_NEXT, (end, 1)).fetchone() == (None,))


def _make_anew(connection: sqlite3.Connection, *, findings: bool) -> None:
    for name in tables.TRIGGER_NAMES:
        connection.execute(f"DROP TRIGGER IF EXISTS {name}")
    if findings:
        # Dropping them would read their damaged pages: the pages stay in the file, unused.
        _strike_out(connection, ["findings", "findings_dispatch"])
        connection.execute(tables.FINDINGS)
        connection.execute(tables.FINDINGS_INDEX)
    drop_search(connection)
    connection.execute(tables.SEARCH)
    for trigger in tables.TRIGGERS:
        connection.execute(trigger)


def drop_search(connection: sqlite3.Connection) -> None:
    """Drop the search index. FTS5 cannot drop an index that it cannot open: then its tables are dropped and its name is
    deleted from the schema."""
    with contextlib.suppress(sqlite3.Error), _savepoint(connection):
        connection.execute("DROP TABLE dispatch_search")
        return
    for part in tables.SEARCH_PARTS:
        connection.execute(f"DROP TABLE IF EXISTS {part}")
    _strike_out(connection, ["dispatch_search"])


def _strike_out(connection: sqlite3.Connection, names: Sequence[str]) -> None:
    connection.execute("PRAGMA writable_schema = ON")
    try:
        connection.executemany("DELETE FROM sqlite_master WHERE name = ?", ((name,) for name in names))
    finally:
        connection.execute("PRAGMA writable_schema = RESET")


@contextlib.contextmanager
def _savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    """A savepoint within the caller's transaction: all or nothing."""
    connection.execute("SAVEPOINT making_anew")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK TO making_anew")
        raise
    finally:
        connection.execute("RELEASE making_anew")


# --- for `check` and `check --repair`


def orphans(connection: sqlite3.Connection) -> int:
    """Number of findings and kept files without a dispatch."""
    counts = [connection.execute(f"SELECT count(*) {_ORPHANS.format(table)}").fetchone()[0] for table in _OWNED]
    return sum(counts)


def miscounted(connection: sqlite3.Connection) -> int:
    """Number of dispatches whose count of findings is wrong."""
    (count,) = connection.execute(_MISCOUNTED).fetchone()
    return int(count)


def search_is_sound(path: str) -> bool:
    """Whether the search index matches the rows, after adding waiting ones. Needs write permission.

    Raises HistoryError.
    """
    with _writing(path) as connection:
        connection.execute("BEGIN IMMEDIATE")  # else a daemon adds rows between the two steps
        try:
            while not _take_in(connection, _AT_ONCE):  # SQL of an operator may have inserted any number
                pass
            connection.execute(_COMPARE)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            return False
    return True


def rebuild(path: str) -> None:
    """Delete findings and kept files without a dispatch, and rebuild the search index. Raises HistoryError."""
    with _writing(path) as connection:
        for table in _OWNED:
            connection.execute(f"DELETE {_ORPHANS.format(table)}")
        connection.execute(_REBUILD)


@contextlib.contextmanager
def _writing(path: str) -> Iterator[sqlite3.Connection]:
    # Not by History, which would take a malformed index for a malformed file and move it aside.
    if not os.path.exists(path):
        raise HistoryError(f"{path}: is not there")
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_PATIENCE_SECONDS)) as connection, connection:
            connection.execute("PRAGMA foreign_keys = ON")
            yield connection
    except sqlite3.Error as error:
        raise HistoryError(f"{path}: {error}") from error
