"""From each schema to the next, in one transaction. The only import of sqlite_utils, made late: it costs 0.1 s."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from agentic_watch.history import newest_commits
from agentic_watch.history import table_definitions as tables
from agentic_watch.history.rows import commit_id

if TYPE_CHECKING:
    from sqlite_utils import Database

_COPIED = (
    "id, root, workspace, repo, org, task, agent, model, branch, status, question, issue, runs, process_id, pr_url, "
    "started_at, updated_at, committed_at, started_utc, updated_utc, duration_ms, passed, build_passed, test_passed, "
    "lint_passed, files_changed, insertions, deletions, findings_count, report, host"
)
_WITH_ID = f"{_COPIED}, commit_id"

_STEPS = {
    2: (
        "binary_signatures",  # a rescan compares them as they are; every workspace is read once more to get its own
        (
            "ALTER TABLE workspaces DROP COLUMN signature",
            "ALTER TABLE workspaces DROP COLUMN journal",
            "ALTER TABLE workspaces ADD COLUMN signature BLOB NOT NULL DEFAULT x''",
            "ALTER TABLE workspaces ADD COLUMN journal BLOB NOT NULL DEFAULT x''",
            tables.OPEN_WORKSPACES,
            "DROP INDEX IF EXISTS dispatch_history_repo",
            tables.BY_REPO,
        ),
    ),
    3: (
        "ids_for_good",  # of the history, of each commit and of each row; a search that finds findings' tools and files
        (
            *("DROP TABLE deliveries", "DROP TABLE dispatch_search", "DROP VIEW dispatch_text", "DROP VIEW dispatches"),
            tables.dispatch_history("copied"),
            f"INSERT INTO copied ({_WITH_ID}) SELECT {_COPIED}, commit_id(root, workspace, updated_utc, runs) "
            "FROM dispatch_history ORDER BY id",
            "DROP TABLE dispatch_history",
            "ALTER TABLE copied RENAME TO dispatch_history",
            # What rows deleted by SQL left behind would be inherited by nobody now, but found by every search.
            "DELETE FROM findings WHERE dispatch_id NOT IN (SELECT id FROM dispatch_history)",
            *tables.AROUND,
            *tables.OVER_DISPATCHES,
            tables.ADD_TO_SEARCH,
            "UPDATE upkeep SET rows = (SELECT count(*) FROM dispatch_history)",
            *("DROP INDEX IF EXISTS findings_dispatch", tables.FINDINGS_INDEX),
            # Until now they could vouch for rows that are not there any more.
            "UPDATE workspaces SET signature = x'', journal = x''",
            "ALTER TABLE workspaces ADD COLUMN updated_utc TEXT NOT NULL DEFAULT ''",
        ),
    ),
}
"""By the version that they lead to: a name, and what is to be done to a history of the version before."""


def migrate(connection: sqlite3.Connection, found: int) -> None:
    """Bring an older history to today's tables, within the transaction that the caller holds."""
    from sqlite_utils import Database, Migrations

    connection.create_function("commit_id", 4, commit_id, deterministic=True)
    migrations = Migrations("agentic_watch")
    for number, (name, statements) in _STEPS.items():
        if number > found:
            migrations(name=name)(_step((*statements, f"PRAGMA user_version = {number}")))
    migrations.apply(Database(connection, execute_plugins=False))  # the user's plugins have no business in a daemon
    newest_commits.judge(connection, sys.maxsize)


def _step(statements: Sequence[str]) -> Callable[[Database], None]:
    """One migration; the library records it in the same transaction."""

    def apply(db: Database) -> None:
        for statement in statements:
            db.execute(statement)

    return apply
