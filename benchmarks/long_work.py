"""How long export, prune, import and rename-root take over a large history, and how long a commit beside them waits.

`python -m benchmarks.long_work DIRECTORY [COMMITS]` fills a history there with a year of a million commits (or so many;
one that is there is taken), exports and prunes all of it, imports the archive again and renames the root, each in a
process of its own. Meanwhile one row is inserted every 0.2 s, as the daemon inserts it. Prints a JSON object for each:
the seconds, those of the processor, and how long the rows beside waited.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator

from agentic_watch.history import HistoryError
from agentic_watch.history.columns import commit_id
from agentic_watch.history.rows import Row, from_record
from agentic_watch.history.store import History
from benchmarks import past
from benchmarks.bench import say
from benchmarks.processes import REPOSITORY

_PAUSE_SECONDS = 0.2
_COPIES = 20
_ENDED_DAYS = (time.time() - past.END) / 86_400


def fill(path: str, commits: int) -> None:
    """A year of commits: a twentieth of them is inserted, the others are their copies in workspaces of other names, at
    the same times. Indexes, triggers and search are made behind them, as fast as SQLite makes them."""
    past.fill(path, round(commits / _COPIES / 1.05))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA foreign_keys = OFF")
        connection.create_function("commit_id", 4, commit_id, deterministic=True)
        sql = "SELECT type, name, sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"
        made = connection.execute(sql).fetchall()
        connection.execute("BEGIN")
        for kind, name, _ in made:
            connection.execute(f"DROP {kind} {name}")
        for table, number in (("findings", "dispatch_id"), ("dispatch_history", "id")):
            _multiply(connection, table, number)
        for _, _, statement in made:
            connection.execute(statement)
        connection.execute("INSERT INTO dispatch_search (dispatch_search) VALUES ('rebuild')")
        counted = "rows = (SELECT count(*) FROM dispatch_history), searched_to = (SELECT max(id) FROM dispatch_history)"
        connection.execute(f"UPDATE upkeep SET {counted}")
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _multiply(connection: sqlite3.Connection, table: str, number: str) -> None:
    """Each row of a table so many times, in the order of time."""
    columns = [row[0] for row in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]
    workspace = "rows.workspace || '-' || copies.n"
    instead = {
        number: f"rows.{number} * {_COPIES} + copies.n",
        "workspace": workspace,
        "commit_id": f"commit_id(rows.root, {workspace}, rows.updated_utc, rows.runs)",
    }
    given = [name for name in columns if name == number or name != "id"]
    values = ", ".join(instead.get(name, f'rows."{name}"') for name in given)
    names = ", ".join(f'"{name}"' for name in given)
    connection.execute(f"CREATE TEMP TABLE made_{table} AS SELECT * FROM {table}")
    connection.execute(f"DELETE FROM {table}")
    connection.execute(
        "WITH copies (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM copies WHERE n + 1 < ?) "
        f"INSERT INTO {table} ({names}) SELECT {values} FROM temp.made_{table} AS rows CROSS JOIN copies",
        (_COPIES,),
    )
    connection.execute(f"DROP TABLE temp.made_{table}")


def rows() -> Iterator[Row]:
    """New commits without an end, of a root of their own."""
    (record,) = itertools.islice(past.commits(1), 1)
    for number in itertools.count():
        yield from_record(record._replace(workspace=f"beside/it/task-{number}"), "/beside", "bench")


def beside(command: list[str], history: History, new: Iterator[Row]) -> dict[str, object]:
    """Run a command, and insert rows until it ends; how long each took, in milliseconds."""
    took: list[float] = []
    failed = 0
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    usage = None
    while usage is None:
        began = time.monotonic()
        try:
            history.insert([next(new)])
        except HistoryError:
            failed += 1
        took.append(1000 * (time.monotonic() - began))
        time.sleep(_PAUSE_SECONDS)
        ended, status, resources = os.wait4(process.pid, os.WNOHANG)
        usage = resources if ended else None
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    took.sort()
    return {
        "seconds": round(time.monotonic() - started, 1),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "commits": len(took),
        "failed": failed,
        **{f"p{percent}_ms": round(took[len(took) * percent // 100]) for percent in (50, 99)},
        "longest_ms": round(took[-1]),
    }


def main(directory: str, commits: str = "1000000") -> None:
    """Fill, and measure each command."""
    path = os.path.join(directory, "history.db")
    archive = os.path.join(directory, "archive.jsonl")
    if not os.path.exists(path):
        # In a process of its own: what it takes in memory would be counted as that of each command.
        filling = [sys.executable, "-c", f"from benchmarks.long_work import fill; fill({path!r}, {int(commits)})"]
        subprocess.run(filling, check=True, cwd=REPOSITORY)
        os.sync()
    program = [sys.executable, "-m", "agentic_watch", "--history", path]
    new = rows()
    with contextlib.closing(History(path)) as history:
        with history.reading() as connection:
            (root,) = connection.execute("SELECT root FROM dispatch_history LIMIT 1").fetchone()
            (count,) = connection.execute("SELECT count(*) FROM dispatch_history").fetchone()
        say(f"{count:,} rows, {os.stat(path).st_size / 1e6:.0f} MB")
        for arguments in (
            ["export"],
            ["prune", "--older-than", f"{max(int(_ENDED_DAYS), 1)}d", "--archive", archive],
            ["import", archive],
            ["rename-root", root, "renamed"],
        ):
            found = beside([*program, *arguments], history, new)
            print(json.dumps({"command": arguments[0], "rows": count, **found}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
