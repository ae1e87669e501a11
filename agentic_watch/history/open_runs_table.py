"""Runs that nobody has ended yet: the table `open_runs`, what is known of each and of its process, should no end come.

What was seen of a process cannot be made again from anything on disk. One that is lost costs its run's unwritten end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from agentic_watch.history.store import History, marks
from agentic_watch.history.workspaces_table import WorkspaceRow

EARLIER_BOOT = "earlier"
PROCESS_GONE, REMOVED = 1, 2
"""What `gone` says."""


class OpenRun(NamedTuple):
    """A row: a run that was neither finished nor known to be over when its workspace was read.

    `said` is its status as JSON, `dispatch` a digest of what does not change while it goes on, `directory` is device
    and inode of its workspace. `boot` and `namespaces` are those in which it was read (host/processes.py), EARLIER_BOOT
    when its status is older than the boot; `began` is when its process did, None when this host never saw that alive.
    `since`: nothing was heard of it from then on (seconds since the epoch). `gone`: 0, PROCESS_GONE or REMOVED;
    `recorded`: 1 when its end is in the history.
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
        """Which status it was read from, as far as the index of workspaces knows it too."""
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
# A directory that has a journal and no status any more stands in the index without a status.
_VANISHED = (
    f"SELECT {_OF_O} FROM open_runs AS o WHERE o.root = ? AND o.workspace > ? AND NOT EXISTS "
    f"(SELECT 1 FROM workspaces WHERE {_SAME} AND (status <> '' OR fail_count)) ORDER BY o.workspace LIMIT ?"
)
_RUN = "root = ? AND workspace = ? AND runs = ? AND started_utc IS ?"


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether no run is open."""
    return connection.execute("SELECT 1 FROM open_runs LIMIT 1").fetchone() is None


def get(connection: sqlite3.Connection, key: tuple[str, str]) -> OpenRun | None:
    """The run of one workspace."""
    return next(_select(connection, "root = ? AND workspace = ?", key), None)


def run_of(history: History, root: str, workspace: str) -> OpenRun | None:
    """The run of one workspace. Raises HistoryError."""
    with history.reading() as connection:
        return get(connection, (root, workspace))


def in_directory(connection: sqlite3.Connection, directory: str) -> list[OpenRun]:
    """The runs that were read in one directory, under whatever name it had."""
    return list(_select(connection, "directory = ?", (directory,)))


def _select(connection: sqlite3.Connection, condition: str, values: Sequence[object]) -> Iterator[OpenRun]:
    sql = f"SELECT {_COLUMNS} FROM open_runs WHERE {condition}"
    return (OpenRun(*row) for row in connection.execute(sql, values))


def put(connection: sqlite3.Connection, runs: Iterable[OpenRun]) -> None:
    """Write rows in place of those of their workspaces."""
    connection.executemany(_PUT, runs)


def delete(connection: sqlite3.Connection, keys: Iterable[tuple[str, str]]) -> None:
    """Forget runs."""
    connection.executemany("DELETE FROM open_runs WHERE root = ? AND workspace = ?", keys)


def set_gone(connection: sqlite3.Connection, runs: Iterable[OpenRun]) -> None:
    """Write down what was noticed of runs whose rows are still those of the same status."""
    sql = "UPDATE open_runs SET gone = ?, since = ? WHERE root = ? AND workspace = ? AND updated_utc = ? AND runs = ?"
    connection.executemany(sql, ((run.gone, run.since, *run.key, run.updated_utc, run.runs) for run in runs))


def set_recorded(connection: sqlite3.Connection, ended: Iterable[tuple[str, str, str, int]]) -> None:
    """Write down that the ends of these (root, workspace, updated_utc, runs) are in the history."""
    sql = "UPDATE open_runs SET recorded = 1 WHERE root = ? AND workspace = ? AND updated_utc = ? AND runs = ?"
    connection.executemany(sql, ended)


def running(history: History, root: str, after: str, count: int) -> list[tuple[WorkspaceRow, OpenRun | None]]:
    """Workspaces of a root with a running dispatch that names a process, by name, those behind the name `after`; beside
    each what is known of its run. Raises HistoryError."""
    width = len(WorkspaceRow._fields)
    with history.reading() as connection:
        found = connection.execute(_RUNNING, (root, after, count)).fetchall()
    return [(WorkspaceRow(*row[:width]), OpenRun(*row[width:]) if row[width] is not None else None) for row in found]


def vanished(history: History, root: str, after: str, count: int) -> list[OpenRun]:
    """Runs whose workspaces are not there any more, by name, those behind the name `after`. Raises HistoryError."""
    with history.reading() as connection:
        return [OpenRun(*row) for row in connection.execute(_VANISHED, (root, after, count))]


def has_end(history: History, run: OpenRun, started_utc: str | None) -> bool:
    """Whether the history has a commit of the same run that is no older than its status here. Raises HistoryError."""
    sql = f"SELECT 1 FROM dispatch_history WHERE {_RUN} AND updated_utc >= ? LIMIT 1"
    with history.reading() as connection:
        found = connection.execute(sql, (*run.key, run.runs, started_utc, run.updated_utc)).fetchone()
    return found is not None


def places_now(history: History, run: OpenRun) -> list[str]:
    """Where commits of this run's workspace were seen last, when not there: names below its root, or paths.

    Raises HistoryError.
    """
    sql = "SELECT DISTINCT moved_to FROM dispatch_history WHERE root = ? AND workspace = ? AND moved_to IS NOT NULL"
    with history.reading() as connection:
        return [place for (place,) in connection.execute(sql, run.key)]


def goes_on_at(history: History, run: OpenRun, name: str, started_utc: str | None) -> bool:
    """Whether the same run goes on, or has ended, under another name of the same root. Raises HistoryError."""
    there = run.root, name, run.runs
    open_sql = "SELECT 1 FROM open_runs WHERE root = ? AND workspace = ? AND runs = ? AND dispatch = ?"
    ended_sql = f"SELECT 1 FROM dispatch_history WHERE {_RUN} AND updated_utc >= ? LIMIT 1"
    with history.reading() as connection:
        if connection.execute(open_sql, (*there, run.dispatch)).fetchone() is not None:
            return True
        return connection.execute(ended_sql, (*there, started_utc, run.updated_utc)).fetchone() is not None
