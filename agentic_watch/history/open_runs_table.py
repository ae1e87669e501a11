"""The table `open_runs`: runs without a final status, and what is known of each process.

Observations of processes cannot be rebuilt from disk. If a row is lost, its run may never be recorded as a ghost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from agentic_watch.history.store import History, marks
from agentic_watch.history.workspaces_table import WorkspaceRow

EARLIER_BOOT = "earlier"
PROCESS_GONE, REMOVED = 1, 2
"""Values of `gone`."""


class OpenRun(NamedTuple):
    """A row: a run that was neither finished nor known to be a ghost when its workspace was read.

    `said` is its status as JSON, `dispatch` a digest of the fields that stay the same during a dispatch, `directory`
    device and inode of its workspace. `boot` and `namespaces` are those in which it was read (host/processes.py),
    EARLIER_BOOT when its status is older than the boot; `began` is the start of its process, None when this host never
    saw it alive. `since` is the time of its last sign of life (seconds since the epoch). `gone`: 0, PROCESS_GONE or
    REMOVED; `recorded`: 1 when it is in the history as a ghost.
    """

    root: str
    workspace: str
    pid: int
    updated_utc: str
    runs: int
    said: str
    dispatch: str
    directory: str
    boot: str
    namespaces: str
    began: int | None
    since: float
    gone: int = 0
    recorded: int = 0

    @property
    def key(self) -> tuple[str, str]:
        """(root's key, workspace's name)."""
        return self.root, self.workspace

    @property
    def identity(self) -> tuple[int, str, int]:
        """Identifies the status it was read from, by fields that the index of workspaces has too."""
        return self.pid, self.updated_utc, self.runs


_COLUMNS = ", ".join(OpenRun._fields)
_OF_O = ", ".join(f"o.{name}" for name in OpenRun._fields)
_OF_W = ", ".join(f"w.{name}" for name in WorkspaceRow._fields)
_SAME = "root = o.root AND workspace = o.workspace"
_PUT = f"INSERT OR REPLACE INTO open_runs ({_COLUMNS}) VALUES ({marks(OpenRun._fields)})"
_UNENDED = ("running", "queued")
_RUNNING = (
    f"SELECT {_OF_W}, {_OF_O} FROM workspaces AS w INDEXED BY workspaces_open "
    "LEFT JOIN open_runs AS o ON o.root = w.root AND o.workspace = w.workspace "
    "WHERE w.root = ? AND (w.fail_count OR NOT w.committed) AND w.workspace > ? "
    f"AND w.status IN {_UNENDED} AND w.pid BETWEEN 1 AND 2147483647 ORDER BY w.workspace LIMIT ?"
)
# The index has directories with a journal but without a status.
_VANISHED = (
    f"SELECT {_OF_O} FROM open_runs AS o WHERE o.root = ? AND o.workspace > ? AND NOT EXISTS "
    f"(SELECT 1 FROM workspaces WHERE {_SAME} AND (status <> '' OR fail_count)) ORDER BY o.workspace LIMIT ?"
)
_RUN = "root = ? AND workspace = ? AND runs = ? AND started_utc IS ?"


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether there is no open run."""
    return connection.execute("SELECT 1 FROM open_runs LIMIT 1").fetchone() is None


def get(connection: sqlite3.Connection, key: tuple[str, str]) -> OpenRun | None:
    """The run of one workspace."""
    return next(_select(connection, "root = ? AND workspace = ?", key), None)


def run_of(history: History, root: str, workspace: str) -> OpenRun | None:
    """The run of one workspace. Raises HistoryError."""
    with history.reading() as connection:
        return get(connection, (root, workspace))


def in_directory(connection: sqlite3.Connection, directory: str) -> list[OpenRun]:
    """The runs that were read in one directory, under any name."""
    return list(_select(connection, "directory = ?", (directory,)))


def _select(connection: sqlite3.Connection, condition: str, values: Sequence[object]) -> Iterator[OpenRun]:
    sql = f"SELECT {_COLUMNS} FROM open_runs WHERE {condition}"
    return (OpenRun(*row) for row in connection.execute(sql, values))


def put(connection: sqlite3.Connection, runs: Iterable[OpenRun]) -> None:
    """Insert or replace the rows of workspaces."""
    connection.executemany(_PUT, runs)


def delete(connection: sqlite3.Connection, keys: Iterable[tuple[str, str]]) -> None:
    """Delete runs."""
    connection.executemany("DELETE FROM open_runs WHERE root = ? AND workspace = ?", keys)


def set_gone(connection: sqlite3.Connection, runs: Iterable[OpenRun]) -> None:
    """Store the observations of runs whose rows still have the same status."""
    sql = "UPDATE open_runs SET gone = ?, since = ? WHERE root = ? AND workspace = ? AND updated_utc = ? AND runs = ?"
    connection.executemany(sql, ((run.gone, run.since, *run.key, run.updated_utc, run.runs) for run in runs))


def set_recorded(connection: sqlite3.Connection, ended: Iterable[tuple[str, str, str, int]]) -> None:
    """Mark these runs (root, workspace, updated_utc, runs) as recorded in the history."""
    sql = "UPDATE open_runs SET recorded = 1 WHERE root = ? AND workspace = ? AND updated_utc = ? AND runs = ?"
    connection.executemany(sql, ended)


_ELSEWHERE = "pid = ? AND began = ? AND dispatch = ? AND runs = ? AND NOT (root = ? AND workspace = ?)"


def _elsewhere(run: OpenRun) -> tuple[object, ...]:
    return run.pid, run.began, run.dispatch, run.runs, *run.key


def settle_copies(connection: sqlite3.Connection, run: OpenRun) -> None:
    """The process of this run has said how it ended: the same run of the same process in copies of its workspace, and
    where that was copied from, is no ghost."""
    if run.began is not None:  # else no process is known, and all open runs would be searched for it
        connection.execute(f"UPDATE open_runs SET recorded = 1 WHERE {_ELSEWHERE}", _elsewhere(run))


def goes_on_elsewhere(history: History, run: OpenRun) -> bool:
    """Whether the same run of the same process stands in another workspace: a copy, or the original. Raises
    HistoryError."""
    sql = f"SELECT 1 FROM open_runs WHERE {_ELSEWHERE} AND gone <> {REMOVED} LIMIT 1"
    if run.began is None:
        return False
    with history.reading() as connection:
        return connection.execute(sql, _elsewhere(run)).fetchone() is not None


def running(history: History, root: str, after: str, count: int) -> list[tuple[WorkspaceRow, OpenRun | None]]:
    """Up to `count` workspaces of a root with a running dispatch and a pid, ordered by name, after the name `after`,
    each with its open run. Raises HistoryError."""
    width = len(WorkspaceRow._fields)
    with history.reading() as connection:
        found = connection.execute(_RUNNING, (root, after, count)).fetchall()
    return [(WorkspaceRow(*row[:width]), OpenRun(*row[width:]) if row[width] is not None else None) for row in found]


def vanished(history: History, root: str, after: str, count: int) -> list[OpenRun]:
    """Up to `count` runs whose workspaces no longer exist, ordered by name, after the name `after`. Raises
    HistoryError."""
    with history.reading() as connection:
        return [OpenRun(*row) for row in connection.execute(_VANISHED, (root, after, count))]


def has_end(history: History, run: OpenRun, started_utc: str | None) -> bool:
    """Whether the history has a commit of the same run that is not older than this status. Raises HistoryError."""
    sql = f"SELECT 1 FROM dispatch_history WHERE {_RUN} AND updated_utc >= ? LIMIT 1"
    with history.reading() as connection:
        found = connection.execute(sql, (*run.key, run.runs, started_utc, run.updated_utc)).fetchone()
    return found is not None


def places_now(history: History, run: OpenRun) -> list[str]:
    """The places to which this run's workspace was moved: names below its root, or paths.

    Raises HistoryError.
    """
    sql = "SELECT DISTINCT moved_to FROM dispatch_history WHERE root = ? AND workspace = ? AND moved_to IS NOT NULL"
    with history.reading() as connection:
        return [place for (place,) in connection.execute(sql, run.key)]


def goes_on_at(history: History, run: OpenRun, name: str, started_utc: str | None) -> bool:
    """Whether the same run continues, or has ended, under another name in the same root. Raises HistoryError."""
    there = run.root, name, run.runs
    open_sql = "SELECT 1 FROM open_runs WHERE root = ? AND workspace = ? AND runs = ? AND dispatch = ?"
    ended_sql = f"SELECT 1 FROM dispatch_history WHERE {_RUN} AND updated_utc >= ? LIMIT 1"
    with history.reading() as connection:
        if connection.execute(open_sql, (*there, run.dispatch)).fetchone() is not None:
            return True
        return connection.execute(ended_sql, (*there, started_utc, run.updated_utc)).fetchone() is not None
