"""Histories as earlier versions of the program made them: their own SQL, filled with the rows of one of today."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from support import FIXTURES

_TABLES = ("dispatch_history", "findings", "workspaces")


def as_schema(history: Path, version: int) -> None:
    """Put a history of an older schema in the place of today's, with its rows, as its program would have left it."""
    old = history.with_name("older.db")
    with contextlib.closing(sqlite3.connect(old)) as connection:
        connection.executescript((FIXTURES / f"history-schema-{version}.sql").read_text("utf-8"))
        connection.execute("ATTACH ? AS today", (str(history),))
        for table in _TABLES:
            names = [f'"{row[1]}"' for row in connection.execute(f"PRAGMA main.table_info({table})")]
            columns = ", ".join(name for name in names if name not in ('"signature"', '"journal"'))
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM today.{table}")
        connection.execute(
            "INSERT INTO dispatch_search (rowid, task, question, findings) "
            "SELECT id, task, question, findings FROM main.dispatch_text"
        )
        connection.commit()
    for path in history.parent.glob(f"{history.name}*"):
        path.unlink()
    old.rename(history)


def as_first_of_schema_3(history: Path) -> None:
    """The same with a history of today's schema as version 0.2.0 made it; what is derived there has yet to be made."""
    old = history.with_name("older.db")
    with contextlib.closing(sqlite3.connect(old)) as connection:
        connection.executescript((FIXTURES / "history-schema-3.sql").read_text("utf-8"))
        connection.execute("ATTACH ? AS today", (str(history),))
        for table in _TABLES:
            connection.execute(f"INSERT INTO main.{table} SELECT * FROM today.{table}")
        connection.execute("UPDATE upkeep SET rows = (SELECT count(*) FROM dispatch_history)")
        connection.execute("INSERT INTO dispatch_search (dispatch_search) VALUES ('rebuild')")
        connection.commit()
    for path in history.parent.glob(f"{history.name}*"):
        path.unlink()
    old.rename(history)
