"""How long the upgrade of a large history of schema 2 takes, and the most memory that it needs.

`python -m benchmarks.migration DIRECTORY ROWS` makes such a history there, upgrades it in a process of its own, and
prints JSON. The directory must lie on the disk that is to be measured, with room for six times the history.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from agentic_watch.history.columns import FINDING_COLUMNS, HISTORY_COLUMNS
from agentic_watch.history.store import History
from benchmarks.bench import say
from benchmarks.filling import row
from benchmarks.processes import REPOSITORY

_SCHEMA_2 = REPOSITORY / "tests" / "fixtures" / "history-schema-2.sql"
_GROUP = 10_000
_COLUMNS = HISTORY_COLUMNS[: HISTORY_COLUMNS.index("commit_id")]


def make(path: str, size: int) -> None:
    """A history of schema 2 with so many dispatches, every fourth with two findings."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(Path(_SCHEMA_2).read_text("utf-8"))
        connection.execute("PRAGMA synchronous = OFF")
        for first in range(1, size + 1, _GROUP):
            _insert(connection, range(first, min(first + _GROUP, size + 1)))


def _insert(connection: sqlite3.Connection, numbers: range) -> None:
    made = [(number, row(number - 1)) for number in numbers]
    marks = ", ".join("?" * (len(_COLUMNS) + 1))
    finding = ", ".join(f'"{name}"' for name in FINDING_COLUMNS)
    connection.execute("BEGIN")
    connection.executemany(
        f"INSERT INTO dispatch_history (id, {', '.join(_COLUMNS)}) VALUES ({marks})",
        ((number, *one.values[: len(_COLUMNS)]) for number, one in made),
    )
    connection.executemany(
        f"INSERT INTO findings (dispatch_id, {finding}) VALUES (?, {', '.join('?' * len(FINDING_COLUMNS))})",
        ((number, *values) for number, one in made for values in one.findings),
    )
    connection.execute(
        "INSERT INTO dispatch_search (rowid, task, question, findings) "
        "SELECT id, task, question, findings FROM dispatch_text WHERE id >= ?",
        (numbers[0],),
    )
    connection.execute("COMMIT")


def upgrade(path: str) -> None:
    """Open it, which upgrades it; print what that took."""
    heard = 0

    def hear(_: str) -> None:
        nonlocal heard
        heard += 1

    started = time.monotonic()
    with contextlib.closing(History(path, on_progress=hear)) as history:
        history.open()
        seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": round(seconds, 1), "peak_mib": round(peak), "said_that_it_lives": heard}))


def main(directory: str, size: str) -> None:
    """Make one, and measure its upgrade beside a plain copy of the file."""
    path = os.path.join(directory, "history.db")
    make(path, int(size))
    os.sync()
    before = os.stat(path).st_size
    say(f"{int(size):,} rows, {before / 1e6:.0f} MB")
    command = [sys.executable, "-m", "benchmarks.migration", path]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout
    print(json.dumps({"rows": int(size), "bytes": before, "bytes_after": os.stat(path).st_size, **json.loads(said)}))


if __name__ == "__main__":
    main(*sys.argv[1:]) if len(sys.argv) > 2 else upgrade(sys.argv[1])
