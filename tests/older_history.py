"""Histories as earlier versions of the program made them: their own SQL, filled with the rows of one of today."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from support import FIXTURES

_TABLES = ("dispatch_history", "findings", "workspaces")


OLDER = ("1", "2", "3", "3-late")
"""The schemas of earlier programs; of schema 3 as version 0.2.0 made it, and as 0.3 did."""


def as_schema(history: Path, version: str | int) -> None:
    """Put a history of an older schema in the place of today's, with its rows, as its program would have left it."""
    old = history.with_name("older.db")
    with contextlib.closing(sqlite3.connect(old)) as connection:
        connection.executescript((FIXTURES / f"history-schema-{version}.sql").read_text("utf-8"))
        connection.execute("ATTACH ? AS today", (str(history),))
        for table in _TABLES:
            names = [f'"{row[1]}"' for row in connection.execute(f"PRAGMA main.table_info({table})")]
            left_out = () if str(version).startswith("3") else ('"signature"', '"journal"')
            columns = ", ".join(name for name in names if name not in left_out)
            connection.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM today.{table}")
        if str(version).startswith("3"):
            connection.execute("UPDATE upkeep SET rows = (SELECT count(*) FROM dispatch_history)")
            connection.execute("UPDATE about SET history_id = (SELECT history_id FROM today.about)")
            connection.execute("INSERT INTO dispatch_search (dispatch_search) VALUES ('rebuild')")
        else:
            connection.execute(
                "INSERT INTO dispatch_search (rowid, task, question, findings) "
                "SELECT id, task, question, findings FROM main.dispatch_text"
            )
        connection.commit()
    for path in history.parent.glob(f"{history.name}*"):
        path.unlink()
    old.rename(history)
