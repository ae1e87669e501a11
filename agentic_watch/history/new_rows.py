"""A group's rows on their way into the tables: dispatches first, then what is made of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from agentic_watch.history import mending
from agentic_watch.history import table_definitions as tables
from agentic_watch.history.columns import HISTORY_COLUMNS
from agentic_watch.history.known_roots import ROOTS
from agentic_watch.history.opening import begin_anew
from agentic_watch.history.rows import Row

_INSERT = (
    f"INSERT INTO dispatch_history (id, {', '.join(HISTORY_COLUMNS)}, moved_to) "
    f"VALUES ({', '.join('?' * (len(HISTORY_COLUMNS) + 2))}) "
    "ON CONFLICT DO NOTHING"
)
_DISPATCH = ("workspace", "updated_utc", "runs", "started_utc", "org", "repo", "task", "agent", "branch")
_ROOT = HISTORY_COLUMNS.index("root")
_ITS = [HISTORY_COLUMNS.index(name) for name in _DISPATCH]
_NAMESAKE = (
    f"WITH RECURSIVE {ROOTS} SELECT 1 FROM roots CROSS JOIN dispatch_history AS d ON d.root = roots.root "
    f"AND {' AND '.join(f'd.{name} IS ?' for name in _DISPATCH[:3])} "
    f"AND {' AND '.join(f'+d.{name} IS ?' for name in _DISPATCH[3:])} AND d.root <> ?"
)
_INSERT_KEPT = (
    "INSERT INTO kept_files (dispatch_id, name, bytes, kept_from, content) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT DO NOTHING"
)
_NEXT = "SELECT ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'dispatch_history'), 0) + 1"


class _Damaged(Exception):
    """Findings or search cannot be written."""

    def __init__(self, error: sqlite3.Error) -> None:
        super().__init__(str(error))
        self.error = error


def insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> tuple[int, sqlite3.Error | None]:
    """Insert rows in the transaction that the caller holds, and nothing else in it; gives how many were new.

    Where findings or search are damaged the rows are inserted without, and the error is given. It must be met twice:
    a read that failed looks like damage, too, and may not fail again (SQLITE_IOERR_CORRUPTFS).
    """
    for _ in range(2):
        try:
            return _insert(connection, rows), None
        except _Damaged as damaged:
            begin_anew(connection)
            error = damaged.error
    mending.give_up(connection, error)
    return _insert(connection, rows), error


def _insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """A few statements for all: the write lock is held, so the next free numbers are ours. A number is never used
    twice, so that nobody inherits what belongs to a row that was deleted."""
    rows = list(_without_namesakes(connection, rows))
    (first,) = connection.execute(_NEXT).fetchone()
    numbered = list(enumerate(rows, first))
    values = ((number, *row.values, row.moved_to) for number, row in numbered)
    inserted = connection.executemany(_INSERT, values).rowcount
    if inserted < len(rows):  # the others were there already
        new = {number for (number,) in connection.execute("SELECT id FROM dispatch_history WHERE id >= ?", (first,))}
        numbered = [(number, row) for number, row in numbered if number in new]
    if kept := [(number, *file) for number, row in numbered for file in row.kept]:
        connection.executemany(_INSERT_KEPT, kept)
    connection.execute("UPDATE upkeep SET rows = rows + ?", (inserted,))
    if numbered and not mending.is_lost(connection):
        try:
            _derive(connection, numbered)
        except sqlite3.DatabaseError as error:
            if mending.is_damage(error):
                raise _Damaged(error) from error
            raise
    return inserted


def _without_namesakes(connection: sqlite3.Connection, rows: Sequence[Row]) -> Iterator[Row]:
    """These rows without those recovered ones whose dispatch has a row of the same name in another root: a line names
    no root, and another process or workspace of the group may have made a row of its copy."""
    roots: dict[tuple[object, ...], object] = {}
    for row in rows:
        if row.is_recovered:
            root, dispatch = row.values[_ROOT], tuple(row.values[number] for number in _ITS)
            is_first = roots.setdefault(dispatch, root) == root
            if not is_first or connection.execute(_NAMESAKE, (*dispatch, root)).fetchone() is not None:
                continue
        yield row


def _derive(connection: sqlite3.Connection, numbered: Sequence[tuple[int, Row]]) -> None:
    """Findings and search of new dispatches."""
    if findings := [(number, *finding) for number, row in numbered for finding in row.findings]:
        connection.executemany(tables.INSERT_FINDING, findings)
    connection.execute(f"{tables.ADD_TO_SEARCH} WHERE id >= ?", (numbered[0][0],))
