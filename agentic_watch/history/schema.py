"""The history's tables and their migrations. The only import of sqlite_utils, made late: it costs 0.1 s."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from agentic_watch.history.history_errors import HistoryTooNew

if TYPE_CHECKING:
    from sqlite_utils import Database

VERSION = 2
"""`PRAGMA user_version` of a history that this program writes."""

_DISPATCH_HISTORY = """
CREATE TABLE dispatch_history (
    id INTEGER PRIMARY KEY,
    root TEXT NOT NULL,
    workspace TEXT NOT NULL,
    repo TEXT NOT NULL,
    org TEXT NOT NULL,
    task TEXT NOT NULL,
    agent TEXT NOT NULL,
    model TEXT NOT NULL,
    branch TEXT NOT NULL,
    status TEXT NOT NULL,
    question TEXT NOT NULL,
    issue INTEGER NOT NULL,
    runs INTEGER NOT NULL,
    process_id TEXT NOT NULL,
    pr_url TEXT NOT NULL,
    started_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    committed_at TEXT NOT NULL,
    started_utc TEXT,
    updated_utc TEXT NOT NULL,
    duration_ms INTEGER,
    passed INTEGER,
    build_passed INTEGER,
    test_passed INTEGER,
    lint_passed INTEGER,
    files_changed INTEGER,
    insertions INTEGER,
    deletions INTEGER,
    findings_count INTEGER NOT NULL,
    report TEXT,
    host TEXT NOT NULL,
    UNIQUE (root, workspace, updated_utc, runs)
) STRICT"""

_FINDINGS = """
CREATE TABLE findings (
    id INTEGER PRIMARY KEY,
    dispatch_id INTEGER NOT NULL REFERENCES dispatch_history (id) ON DELETE CASCADE,
    tool TEXT,
    severity TEXT,
    category TEXT,
    file TEXT,
    line INTEGER,
    "column" INTEGER,
    code TEXT,
    rule_id TEXT,
    title TEXT,
    message TEXT
) STRICT"""

# What is on disk now. `signature` (status files and marker) spares a rescan the reading of what has not
# changed; `journal` is the journal's signature when every line of it was in the history.
_WORKSPACES = """
CREATE TABLE workspaces (
    root TEXT NOT NULL,
    workspace TEXT NOT NULL,
    status TEXT,
    agent TEXT,
    pid INTEGER,
    updated_at TEXT,
    runs INTEGER,
    committed INTEGER NOT NULL DEFAULT 0,
    fail_count INTEGER NOT NULL DEFAULT 0,
    next_attempt_at REAL,
    last_error TEXT,
    ghost INTEGER NOT NULL DEFAULT 0,
    seen_at TEXT,
    question TEXT,
    repo TEXT,
    signature BLOB NOT NULL DEFAULT x'',
    journal BLOB NOT NULL DEFAULT x'',
    PRIMARY KEY (root, workspace)
) STRICT, WITHOUT ROWID"""

_OPEN_WORKSPACES = "CREATE INDEX workspaces_open ON workspaces (root) WHERE (fail_count OR NOT committed)"

_DELIVERIES = """
CREATE TABLE deliveries (
    target TEXT NOT NULL,
    dispatch_id INTEGER NOT NULL REFERENCES dispatch_history (id) ON DELETE CASCADE,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt_at REAL,
    last_error TEXT,
    delivered_at TEXT,
    PRIMARY KEY (target, dispatch_id)
) STRICT, WITHOUT ROWID"""

_DISPATCHES = """
CREATE VIEW dispatches AS
SELECT * FROM dispatch_history AS this
WHERE NOT EXISTS (
    SELECT 1 FROM dispatch_history AS newer
    WHERE newer.root = this.root AND newer.workspace = this.workspace AND newer.runs = this.runs
      AND newer.started_utc IS this.started_utc AND newer.updated_utc > this.updated_utc
)"""

# The text lives in the tables; the index asks this view for it (FTS5 "external content").
_SEARCH_TEXT = """
CREATE VIEW dispatch_text AS
SELECT id, task, question,
       (SELECT group_concat(message, char(10)) FROM findings WHERE dispatch_id = dispatch_history.id) AS findings
FROM dispatch_history"""

_SEARCH = """
CREATE VIRTUAL TABLE dispatch_search USING fts5 (
    task, question, findings, content = 'dispatch_text', content_rowid = 'id'
)"""

# The organisation comes last, so that a repository's rows are in the order of time, and those of others that have the
# same name are passed over within the index.
_BY_REPO = "CREATE INDEX dispatch_history_repo ON dispatch_history (repo, updated_utc, org)"

_INDEXES = (
    "CREATE INDEX dispatch_history_updated ON dispatch_history (updated_utc)",
    _BY_REPO,
    "CREATE INDEX dispatch_history_status ON dispatch_history (status, updated_utc)",
    "CREATE INDEX dispatch_history_workspace ON dispatch_history (workspace, updated_utc)",
    "CREATE INDEX findings_dispatch ON findings (dispatch_id)",
    _OPEN_WORKSPACES,
)


_CREATE = (
    *(_DISPATCH_HISTORY, _FINDINGS, _WORKSPACES, _DELIVERIES),
    *(_DISPATCHES, _SEARCH_TEXT, _SEARCH, *_INDEXES),
)

_MIGRATIONS = {
    2: (
        "binary_signatures",  # a rescan compares them as they are; every workspace is read once more to get its own
        (
            "ALTER TABLE workspaces DROP COLUMN signature",
            "ALTER TABLE workspaces DROP COLUMN journal",
            "ALTER TABLE workspaces ADD COLUMN signature BLOB NOT NULL DEFAULT x''",
            "ALTER TABLE workspaces ADD COLUMN journal BLOB NOT NULL DEFAULT x''",
            _OPEN_WORKSPACES,
            "DROP INDEX dispatch_history_repo",
            _BY_REPO,
        ),
    ),
}
"""By the version that they lead to: a name, and what is to be done to a history of the version before."""


def version(connection: sqlite3.Connection) -> int:
    """The schema version of an open history; 0 is an empty file."""
    number: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return number


def refuse_newer(connection: sqlite3.Connection, path: str) -> int:
    """The schema version. Raises HistoryTooNew before anything is changed."""
    found = version(connection)
    if found > VERSION:
        raise HistoryTooNew(
            f"{path}: has schema version {found}, this program knows {VERSION}; upgrade agentic-watch, "
            "or name another file with --history"
        )
    return found


def upgrade(connection: sqlite3.Connection, path: str, backup_name: str) -> None:
    """Bring an open history to this program's schema; an older one is first copied to `backup_name`."""
    found = refuse_newer(connection, path)
    if found == VERSION:
        return
    if not found:
        _create(connection)
        return
    with contextlib.closing(sqlite3.connect(backup_name)) as copy:
        connection.backup(copy)
    _migrate(connection, found)


def _create(connection: sqlite3.Connection) -> None:
    """Make the tables of a new history, which needs no migrator and not its import."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    for statement in (*_CREATE, f"PRAGMA user_version = {VERSION}"):
        connection.execute(statement)
    connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection, found: int) -> None:
    from sqlite_utils import Database, Migrations

    migrations = Migrations("agentic_watch")
    for number, (name, statements) in _MIGRATIONS.items():
        if number > found:
            migrations(name=name)(_step((*statements, f"PRAGMA user_version = {number}")))
    migrations.apply(Database(connection, execute_plugins=False))  # the user's plugins have no business in a daemon


def _step(statements: Sequence[str]) -> Callable[[Database], None]:
    """One migration; the library records it in the same transaction."""

    def apply(db: Database) -> None:
        for statement in statements:
            db.execute(statement)

    return apply


AtRest = tuple[int, int, int]
"""Inode, mtime (ns) and size of a history that nobody writes: equal means that nobody wrote in between."""


def at_rest(path: str) -> AtRest | None:
    """What a history without a -wal file looks like; None beside a writer, or after one that was killed.

    Whoever writes makes the -wal file first, and its end leaves the database changed. Raises OSError.
    """
    info = os.stat(path)
    # SQLite resolves symlinks: its files stand beside the file itself.
    if os.path.lexists(f"{os.path.realpath(path)}-wal"):
        return None
    return info.st_ino, info.st_mtime_ns, info.st_size


def open_read_only(path: str) -> sqlite3.Connection:
    """Open a history for a short look, beside a writer or without one; one that is not there yet is empty.

    Nothing is made or changed. Raises sqlite3.Error, OSError or HistoryTooNew.
    """
    try:
        connection = _connect_read_only(path)
    except FileNotFoundError:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        upgrade(connection, path, "")
        return connection
    try:
        if not (found := refuse_newer(connection, path)):
            raise sqlite3.OperationalError("is not a history of this program yet")
        if found != VERSION:
            raise sqlite3.OperationalError(f"has schema version {found}; the daemon or --once brings it to {VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


def refuse_newer_file(path: str) -> None:
    """Raise HistoryTooNew for a newer program's file while nothing has touched it.

    A writer's connection, even one that only looked, checkpoints a log that it finds when it is closed.
    """
    try:
        with contextlib.closing(_connect_read_only(path)) as connection:
            refuse_newer(connection, path)
    except FileNotFoundError:
        return


def _connect_read_only(path: str) -> sqlite3.Connection:
    # Without a -wal file mode=ro would make one, which fails for who may only read the directory, and
    # for who may write it leaves a file that is not the daemon's own. https://sqlite.org/wal.html#readonly
    how = "mode=ro" if at_rest(path) is None else "mode=ro&immutable=1"
    return sqlite3.connect(f"file:{_escaped(path)}?{how}", uri=True, isolation_level=None)


def _escaped(path: str) -> str:
    """A path for a SQLite URI: the three characters that mean something there (https://sqlite.org/uri.html)."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
