"""What is derived from the record, kept whole or made anew: the findings, the search. The record comes first: while
these are damaged, dispatches are inserted without them."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence

from agentic_watch.history import table_definitions as tables
from agentic_watch.history.rows import finding_values

_DISPATCHES_AT_ONCE = 500
_WITHOUT_FINDINGS = (
    "SELECT id, report FROM dispatch_history WHERE id >= ? AND id < ? AND findings_count > 0 "
    "AND NOT EXISTS (SELECT 1 FROM findings WHERE dispatch_id = dispatch_history.id)"
)
_ADD_LACKING = (
    f"{tables.ADD_TO_SEARCH} WHERE id >= ? AND id < ? "
    "AND NOT EXISTS (SELECT 1 FROM dispatch_search_docsize AS there WHERE there.id = dispatch_text.id)"
)


_PASSING = ("BUSY", "LOCKED", "FULL", "IOERR", "NOMEM", "INTERRUPT", "READONLY", "CANTOPEN", "PERM", "AUTH", "PROTOCOL")


def is_of_search(error: sqlite3.Error) -> bool:
    """Whether an error is damage of the search, for which FTS5 has a code of its own."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_CORRUPT_VTAB"


def is_damage(error: sqlite3.Error) -> bool:
    """Whether an error met while findings and search are written is damage in them, and not one that passes."""
    name = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_")
    return not name.startswith(_PASSING)


def is_lost(connection: sqlite3.Connection) -> bool:
    """Whether findings and search are to be left alone until they are made anew."""
    return _state(connection)[0] is not None


def is_done(connection: sqlite3.Connection) -> bool:
    """Whether there is nothing to mend."""
    return _state(connection) == (None, 0)


def give_up(connection: sqlite3.Connection, error: sqlite3.Error) -> None:
    """Go on without findings and search from here on."""
    in_a_table = getattr(error, "sqlite_errorname", "") == "SQLITE_CORRUPT"
    connection.execute("UPDATE upkeep SET lost = ?", ("findings" if in_a_table else "search",))


def mend_some(connection: sqlite3.Connection) -> bool:
    """Add to findings and search what some dispatches lack, newest first; whether that was all.

    Within the transaction that the caller holds. Raises sqlite3.Error when they cannot even be made anew.
    """
    lost, end = _state(connection)
    if lost is not None:
        _make_anew(connection, findings=lost == "findings")
        end = connection.execute("SELECT ifnull(max(id), 0) + 1 FROM dispatch_history").fetchone()[0]
    first = max(0, end - _DISPATCHES_AT_ONCE)
    lacking = connection.execute(_WITHOUT_FINDINGS, (first, end)).fetchall()
    for number, report in lacking:
        items = json.loads(report).get("findings", []) if report else []
        connection.executemany(
            tables.INSERT_FINDING, ((number, *finding_values(item)) for item in items if isinstance(item, dict))
        )
    connection.execute(_ADD_LACKING, (first, end))
    connection.execute("UPDATE upkeep SET lost = NULL, search_from = ?", (first,))
    return first == 0


def _state(connection: sqlite3.Connection) -> tuple[str | None, int]:
    """What is damaged and waits to be made anew ("search", or "findings" from which that is made), and the number below
    which dispatches may lack theirs."""
    lost, end = connection.execute("SELECT lost, search_from FROM upkeep").fetchone()
    return lost, end


def _make_anew(connection: sqlite3.Connection, *, findings: bool) -> None:
    for name in tables.TRIGGER_NAMES:
        connection.execute(f"DROP TRIGGER IF EXISTS {name}")
    if findings:
        # To drop them SQLite would walk through their pages, which are damaged: they stay in the file, unused.
        _strike_out(connection, ["findings", "findings_dispatch"])
        connection.execute(tables.FINDINGS)
        connection.execute(tables.FINDINGS_INDEX)
    drop_search(connection)
    connection.execute(tables.SEARCH)
    for trigger in tables.TRIGGERS:
        connection.execute(trigger)


def drop_search(connection: sqlite3.Connection) -> None:
    """FTS5 does not drop what it cannot open: then its own tables go, and its name is struck out."""
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
    """What is done in it is done whole or not at all, within the transaction that the caller holds."""
    connection.execute("SAVEPOINT mending")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK TO mending")
        raise
    finally:
        connection.execute("RELEASE mending")
