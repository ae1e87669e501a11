"""The state of deliveries: `push.db` beside the history, written only after a target has answered.

If it is lost, commits are sent again, which is harmless.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from agentic_watch.workspace.instant import now_text, stamp

APPLICATION_ID = 1095193936
"""`PRAGMA application_id` of a push.db ("AGWP")."""
VERSION = 2

_FILE = "push.db"
_PATIENCE_SECONDS = 20.0
_CREATE = (
    """CREATE TABLE targets (
        target TEXT PRIMARY KEY, history_id TEXT NOT NULL, last_id INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE dead_letters (
        target TEXT NOT NULL, commit_id TEXT NOT NULL, id INTEGER NOT NULL, cause TEXT NOT NULL,
        attempts INTEGER NOT NULL, first_at TEXT NOT NULL, last_at TEXT NOT NULL, document TEXT NOT NULL,
        PRIMARY KEY (target, commit_id)
    ) STRICT""",
    # `since` (UTC): a hook is not run for commits from before it was configured.
    """CREATE TABLE hooks (
        hook TEXT PRIMARY KEY, history_id TEXT NOT NULL, last_id INTEGER NOT NULL, since TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE hook_runs (
        hook TEXT NOT NULL, commit_id TEXT NOT NULL, workspace TEXT NOT NULL, started_at TEXT NOT NULL,
        ended_at TEXT, outcome TEXT NOT NULL, PRIMARY KEY (hook, commit_id)
    ) STRICT""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    "PRAGMA user_version = 1",
)
_SECOND_VERSION = (
    # Identifies the row `last_id`: a history restored from a backup has another row there.
    "ALTER TABLE targets ADD COLUMN last_called TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE hooks ADD COLUMN last_called TEXT NOT NULL DEFAULT ''",
    # `next_at` (UTC): when a failed run is retried; NULL: never.
    "ALTER TABLE hook_runs ADD COLUMN attempts INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE hook_runs ADD COLUMN next_at TEXT",
    "CREATE INDEX hook_runs_due ON hook_runs (hook, next_at) WHERE next_at IS NOT NULL",
    "PRAGMA user_version = 2",
)


class StateError(Exception):
    """push.db cannot be used; the text names it, the cause and the next step."""


class Position(NamedTuple):
    """A row of a history: its id, and its identifying text ("" if unknown)."""

    id: int = 0
    called: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A commit that a target rejected: the interchange object as text, and why. `id` is its id in the history."""

    commit_id: str
    id: int
    cause: str
    document: str


def path_of(history: str) -> str:
    """Path of the state: beside the history, or in `push/` there, the only directory that the service's pusher can
    write."""
    directory = os.path.dirname(history)
    own = os.path.join(directory, "push")
    return os.path.join(own if os.path.isdir(own) else directory, _FILE)


class PushState:
    """The open state. Each method is one transaction; several pushers may share a file. Raises StateError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.notices: list[str] = []
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                raise self._failed(error) from error
            self._set_aside(error)
            self._connection = self._open()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def position(self, target: str, history_id: str) -> Position:
        """The row of this history up to which the target has everything; the start for another history."""
        with self._transaction() as connection:
            sql = "SELECT last_id, last_called FROM targets WHERE target = ? AND history_id = ?"
            row = connection.execute(sql, (target, history_id)).fetchone()
        return Position(*row) if row else Position()

    def begin_anew(self, target: str) -> None:
        """Reset the target, so that everything is sent again."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM targets WHERE target = ?", (target,))

    def delivered(self, target: str, history_id: str, last: Position, refused: Sequence[DeadLetter] = ()) -> None:
        """Record that the target has everything up to `last` except `refused`. The position never decreases."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO targets (target, history_id, last_id, last_called) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (target) DO UPDATE SET "
                "history_id = excluded.history_id, last_id = excluded.last_id, last_called = excluded.last_called "
                "WHERE history_id <> excluded.history_id OR last_id <= excluded.last_id",
                (target, history_id, *last),
            )
            _store_dead_letters(connection, target, refused)

    def dead_letters(self, target: str) -> list[DeadLetter]:
        """The commits that the target rejected, in the order of the history."""
        sql = "SELECT commit_id, id, cause, document FROM dead_letters WHERE target = ? ORDER BY id, commit_id"
        with self._transaction() as connection:
            return [DeadLetter(*row) for row in connection.execute(sql, (target,))]

    def dead_count(self, target: str) -> int:
        """Number of commits that the target rejected."""
        with self._transaction() as connection:
            row = connection.execute("SELECT count(*) FROM dead_letters WHERE target = ?", (target,)).fetchone()
        return int(row[0])

    def retried(self, target: str, delivered: Sequence[str], refused: Sequence[DeadLetter]) -> None:
        """Record a retry of dead letters: delivered ones are deleted, others count one more attempt."""
        with self._transaction() as connection:
            connection.executemany(
                "DELETE FROM dead_letters WHERE target = ? AND commit_id = ?", [(target, one) for one in delivered]
            )
            _store_dead_letters(connection, target, refused)

    def hook_position(self, hook: str, history_id: str) -> tuple[Position, str]:
        """(the row up to which the hook has run, when it was first seen). A new hook starts now."""
        with self._transaction() as connection:
            sql = "INSERT OR IGNORE INTO hooks (hook, history_id, last_id, since) VALUES (?, ?, 0, ?)"
            connection.execute(sql, (hook, history_id, now_text()))
            # Another history has other ids: earlier runs are recognised by commit_id.
            connection.execute(
                "UPDATE hooks SET last_id = 0, last_called = '', history_id = ? WHERE hook = ? AND history_id <> ?",
                (history_id, hook, history_id),
            )
            sql = "SELECT last_id, last_called, since FROM hooks WHERE hook = ?"
            last_id, called, since = connection.execute(sql, (hook,)).fetchone()
        return Position(last_id, called), str(since)

    def hook_reached(self, hook: str, last: Position) -> None:
        """Record that everything up to `last` was handled."""
        with self._transaction() as connection:
            connection.execute("UPDATE hooks SET last_id = ?, last_called = ? WHERE hook = ?", (*last, hook))

    def hook_begins(self, hook: str, commit_id: str, workspace: str) -> bool:
        """Record the start of a run; False when it was started before by any process."""
        with self._transaction() as connection:
            cursor = connection.execute(
                "INSERT OR IGNORE INTO hook_runs (hook, commit_id, workspace, started_at, outcome) "
                "VALUES (?, ?, ?, ?, 'begun, end unknown')",
                (hook, commit_id, workspace, now_text()),
            )
            return cursor.rowcount == 1

    def hooks_due(self, hook: str) -> list[tuple[str, str, int]]:
        """(commit_id, workspace, attempts) of failed runs that are due for a retry."""
        sql = (
            "SELECT commit_id, workspace, attempts FROM hook_runs "
            "WHERE hook = ? AND next_at IS NOT NULL AND next_at <= ? ORDER BY next_at, commit_id"
        )
        with self._transaction() as connection:
            return connection.execute(sql, (hook, now_text())).fetchall()

    def hook_begins_again(self, hook: str, commit_id: str) -> bool:
        """Record the start of a retry; False when another process was faster."""
        with self._transaction() as connection:
            cursor = connection.execute(
                "UPDATE hook_runs SET attempts = attempts + 1, next_at = NULL, outcome = 'begun, end unknown' "
                "WHERE hook = ? AND commit_id = ? AND next_at IS NOT NULL",
                (hook, commit_id),
            )
            return cursor.rowcount == 1

    def hook_ended(self, hook: str, commit_id: str, outcome: str, next_at: str | None = None) -> None:
        """Store the outcome, and the time of a retry."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE hook_runs SET ended_at = ?, outcome = ?, next_at = ? WHERE hook = ? AND commit_id = ?",
                (now_text(), outcome, next_at, hook, commit_id),
            )

    def _open(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=_PATIENCE_SECONDS)
        except sqlite3.OperationalError as error:
            raise self._failed(error) from error
        try:
            connection.execute("PRAGMA synchronous = FULL")
            found = self._version(connection)
            if found > VERSION:
                raise StateError(f"{self.path}: was made by a newer agentic-watch; use that one, or move the file away")
            if found < VERSION:
                _create(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _version(self, connection: sqlite3.Connection) -> int:
        (owner,) = connection.execute("PRAGMA application_id").fetchone()
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if tables and owner != APPLICATION_ID:
            raise StateError(f"{self.path}: is another program's file; move it away")
        return int(found)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.DatabaseError as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> StateError:
        return StateError(f"{self.path}: {error}; push as its owner, with free disk space")

    def _set_aside(self, error: sqlite3.Error) -> None:
        aside = f"{self.path}.corrupt-{stamp()}"
        try:
            os.rename(self.path, aside)
        except OSError as problem:
            raise StateError(f"{self.path}: {error}; cannot be moved aside: {problem.strerror}") from problem
        self.notices.append(f"{self.path}: {error}; moved to {aside}. Everything is sent once more, which is harmless")


def _create(connection: sqlite3.Connection) -> None:
    """Create or update the tables; another process may do so at the same time."""
    connection.execute("BEGIN IMMEDIATE")
    for version, statements in enumerate((_CREATE, _SECOND_VERSION)):
        if connection.execute("PRAGMA user_version").fetchone()[0] == version:
            for statement in statements:
                connection.execute(statement)
    connection.execute("COMMIT")


def _store_dead_letters(connection: sqlite3.Connection, target: str, refused: Sequence[DeadLetter]) -> None:
    now = now_text(time.time())
    connection.executemany(
        "INSERT INTO dead_letters VALUES (?, ?, ?, ?, 1, ?, ?, ?) ON CONFLICT (target, commit_id) DO UPDATE SET "
        "cause = excluded.cause, attempts = attempts + 1, last_at = excluded.last_at, document = excluded.document",
        [(target, one.commit_id, one.id, one.cause, now, now, one.document) for one in refused],
    )
