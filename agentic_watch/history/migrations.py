"""Upgrades an older history: makes a copy, then migrates from each schema to the next in one transaction.

The only module that imports sqlite_utils. Imported late, because that takes 0.1 s.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from agentic_watch.history import findings_and_search, history_file
from agentic_watch.history import table_definitions as tables
from agentic_watch.history.columns import USAGE_COLUMNS, commit_id, model_of, report_of, usage_values
from agentic_watch.history.history_file import VERSION, connect_read_only

_COLUMNS_OF_2 = (
    "id, root, workspace, repo, org, task, agent, model, branch, status, question, issue, runs, process_id, pr_url, "
    "started_at, updated_at, committed_at, started_utc, updated_utc, duration_ms, passed, build_passed, test_passed, "
    "lint_passed, files_changed, insertions, deletions, findings_count, report, host"
)
_FORMER = {
    "dispatch_history_counted": "INDEX",
    "dispatch_history_daily": "INDEX",
    "dispatch_history_repo": "INDEX",
    "dispatch_history_repo_org": "INDEX",
    "dispatch_history_repo_time": "INDEX",
    "dispatch_history_run": "INDEX",
    "dispatch_history_status": "INDEX",
    "dispatch_history_updated": "INDEX",
    "dispatch_history_workspace": "INDEX",
    "finding_counts": "TABLE",
    "finding_totals": "TABLE",
    "superseded": "TABLE",
    **dict.fromkeys(("findings_added_alone", "findings_changed_alone", "findings_gone_alone"), "TRIGGER"),
    **dict.fromkeys(("newest_deleting", "superseded_deleted", "runs_changed", "roots_changed"), "TRIGGER"),
}
"""Objects of schema 3 that are no longer needed or have other columns now. Those of operators stay."""

_FINDINGS_LOST = 2**63 - 2
"""A value of `upkeep.search_from` in schema 3; 0 meant nothing to repair, other values an incomplete search index."""

_COPIED_PAGES = 2_000
_STEPS_BETWEEN_WORDS = 100_000
"""Instructions of SQLite's virtual machine, which take a few milliseconds."""
_AT_ONCE = 1_000
_WITH_USAGE = (
    "SELECT id, agent, report FROM dispatch_history WHERE id > ? AND (instr(report, '\"usage\":') > 0 "
    f"OR instr(report, '\"commits\":') > 0) ORDER BY id LIMIT {_AT_ONCE}"
)
_SET_USAGE = f"UPDATE dispatch_history SET model = ?, {', '.join(f'{name} = ?' for name in USAGE_COLUMNS)} WHERE id = ?"

Step = str | Callable[[sqlite3.Connection], None]
"""A statement or a function."""


def _copy_dispatches(connection: sqlite3.Connection) -> None:
    """Copy all rows into the table of schema 4, which has more columns and one unique index; from schema 2 this was
    already done.

    Indexes and triggers of operators are recreated, their columns are copied, and no id is reused.
    """
    there = connection.execute("SELECT name, type, dflt_value FROM pragma_table_info('dispatch_history')").fetchall()
    if {name for name, *_ in there}.issuperset(USAGE_COLUMNS):
        _fill_usage(connection)
        return
    own = connection.execute(
        "SELECT sql FROM sqlite_master WHERE tbl_name = 'dispatch_history' AND type <> 'table' AND sql IS NOT NULL"
    ).fetchall()
    last = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'dispatch_history'").fetchone()
    columns = f"{_COLUMNS_OF_2}, commit_id, moved_to"
    connection.execute(tables.dispatch_history("copied"))
    ours = {name for (name,) in connection.execute("SELECT name FROM pragma_table_info('copied')")}
    for name, kind, default in there:
        if name.lower() not in ours:
            quoted = '"' + name.replace('"', '""') + '"'
            connection.execute(f"ALTER TABLE copied ADD COLUMN {quoted} {kind} DEFAULT ({default or 'NULL'})")
            columns += f", {quoted}"
    connection.execute(f"INSERT INTO copied ({columns}) SELECT {columns} FROM dispatch_history ORDER BY id")
    connection.execute("DROP TABLE dispatch_history")
    connection.execute("ALTER TABLE copied RENAME TO dispatch_history")
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'dispatch_history'")
    connection.execute("INSERT INTO sqlite_sequence VALUES ('dispatch_history', ?)", last or (0,))
    _fill_usage(connection)  # before an operator's triggers are recreated, so that they do not fire
    indexes = {statement.split()[2] for statement in tables.INDEXES}
    for (statement,) in own:
        if statement.split()[2] not in indexes:
            connection.execute(statement)


def _make_indexes(connection: sqlite3.Connection) -> None:
    """Create the indexes that do not exist yet; existing ones are already right."""
    there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    for statement in tables.INDEXES:
        if statement.split()[2] not in there:
            connection.execute(statement)


def _fill_usage(connection: sqlite3.Connection) -> None:
    """Fill the columns of tokens and cost from each row's report."""
    last = 0
    while found := connection.execute(_WITH_USAGE, (last,)).fetchall():
        connection.executemany(_SET_USAGE, (_usage(*row) for row in found))
        last = found[-1][0]


def _fill_search(connection: sqlite3.Connection) -> None:
    """Fill the search index; a damaged one is rebuilt later, when the history is open."""
    if connection.execute("SELECT lost FROM upkeep").fetchone() == (None,):
        connection.execute(tables.ADD_TO_SEARCH)
        connection.execute("UPDATE upkeep SET searched_to = (SELECT ifnull(max(id), 0) FROM dispatch_history)")


def _usage(number: int, agent: str, report: str) -> tuple[object, ...]:
    said = report_of(report)
    return model_of(agent, said), *usage_values(said), number


_STEPS: dict[int, tuple[str, tuple[Step, ...]]] = {
    2: (
        "binary_signatures",  # signatures are compared as bytes; every workspace is read once more to get one
        (
            "ALTER TABLE workspaces DROP COLUMN signature",
            "ALTER TABLE workspaces DROP COLUMN journal",
            "ALTER TABLE workspaces ADD COLUMN signature BLOB NOT NULL DEFAULT x''",
            "ALTER TABLE workspaces ADD COLUMN journal BLOB NOT NULL DEFAULT x''",
            tables.OPEN_WORKSPACES,
        ),
    ),
    3: (
        "ids_for_good",  # permanent ids of the history, of each commit and of each row
        (
            *("DROP TABLE deliveries", "DROP TABLE dispatch_search", "DROP VIEW dispatch_text", "DROP VIEW dispatches"),
            tables.dispatch_history("copied"),
            f"INSERT INTO copied ({_COLUMNS_OF_2}, commit_id) "
            f"SELECT {_COLUMNS_OF_2}, commit_id(root, workspace, updated_utc, runs) FROM dispatch_history ORDER BY id",
            "DROP TABLE dispatch_history",
            "ALTER TABLE copied RENAME TO dispatch_history",
            # Findings of rows that were deleted by SQL would still be found by every search.
            "DELETE FROM findings WHERE dispatch_id NOT IN (SELECT id FROM dispatch_history)",
            *tables.ABOUT,
            "CREATE TABLE upkeep (rows INTEGER NOT NULL, search_from INTEGER NOT NULL, judged_to INTEGER) STRICT",
            "INSERT INTO upkeep SELECT count(*), 0, 0 FROM dispatch_history",
            *("DROP INDEX IF EXISTS findings_dispatch", tables.FINDINGS_INDEX),
            # Until now they could count for rows that no longer exist.
            "UPDATE workspaces SET signature = x'', journal = x''",
            "ALTER TABLE workspaces ADD COLUMN updated_utc TEXT NOT NULL DEFAULT ''",
        ),
    ),
    4: (
        "usage_and_kept_files",  # tokens, cost and commit of a dispatch, their search; open runs
        (
            *(f"DROP TRIGGER IF EXISTS {name}" for name in tables.TRIGGER_NAMES),
            *(f"DROP {kind} IF EXISTS {name}" for name, kind in reversed(_FORMER.items())),
            findings_and_search.drop_search,
            *("DROP VIEW IF EXISTS dispatch_text", "DROP VIEW IF EXISTS dispatches"),
            _copy_dispatches,
            tables.KEPT_FILES,
            *tables.OPEN_RUNS,
            _make_indexes,
            *(*tables.VIEWS, tables.SEARCH),
            *tables.TRIGGERS,
            "ALTER TABLE upkeep DROP COLUMN judged_to",
            "ALTER TABLE upkeep RENAME COLUMN search_from TO searched_to",
            "ALTER TABLE upkeep ADD COLUMN lost TEXT",
            f"UPDATE upkeep SET lost = iif(searched_to = {_FINDINGS_LOST}, 'findings', 'search') WHERE searched_to > 0",
            "UPDATE upkeep SET searched_to = 0",
            _fill_search,
        ),
    ),
}
"""By target version: a name, and the steps from the version before."""


def _migrate(connection: sqlite3.Connection, found: int) -> None:
    """Migrate an older history to today's tables within the caller's transaction."""
    from sqlite_utils import Database, Migrations

    connection.create_function("commit_id", 4, commit_id, deterministic=True)
    migrations = Migrations("agentic_watch")
    for number, (name, steps) in _STEPS.items():
        if number > found:
            migrations(name=name)(_step((*steps, f"PRAGMA user_version = {number}")))
    migrations.apply(Database(connection, execute_plugins=False))  # no plugins of sqlite_utils in a daemon


def _step(steps: Sequence[Step]) -> Callable[[Any], None]:
    """One migration of a `Database`; sqlite_utils records it in the same transaction."""

    def apply(db: Any) -> None:
        for step in steps:
            if callable(step):
                step(db.conn)
            else:
                db.execute(step)

    return apply


def upgrade(connection: sqlite3.Connection, path: str, notices: list[str], on_progress: Callable[[str], None]) -> None:
    """Upgrade an older history to this program's schema; a notice names the copy made before.

    The lock is taken first, so that no copy is made if the upgrade cannot run now; the copy of a failed upgrade is
    removed. Raises sqlite3.Error, OSError.
    """
    started = time.monotonic()
    connection.execute("PRAGMA foreign_keys = OFF")  # else dropping the old table would delete its findings
    connection.execute("PRAGMA legacy_alter_table = ON")  # do not check views while the table is missing
    connection.execute("BEGIN IMMEDIATE")
    found = history_file.refuse_newer(connection, path)
    backup = f"{path}.backup-v{found}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    try:
        _remove_unfinished_copies(path)
        _copy(path, f"{backup}.part", lambda: on_progress(f"copying the history to {backup}"))
        said = f"upgrading the history from schema {found} to {VERSION}"
        connection.set_progress_handler(lambda: on_progress(said), _STEPS_BETWEEN_WORDS)
        _migrate(connection, found)
        history_file.write_about(connection)
        connection.execute(f"PRAGMA application_id = {history_file.APPLICATION_ID}")
        os.rename(f"{backup}.part", backup)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        for unused in (backup, f"{backup}.part", f"{backup}.part-journal"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(unused)
        raise
    finally:
        connection.set_progress_handler(None, 0)
    with contextlib.suppress(sqlite3.OperationalError):  # delayed by a reader; a later checkpoint writes the header
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    notices.append(
        f"{path}: was upgraded from schema {found} to {VERSION} in {time.monotonic() - started:.1f} s; "
        f"as it was, it lies in {backup}"
    )


def _remove_unfinished_copies(path: str) -> None:
    """Remove copies of killed upgrades; none is running while we hold the lock."""
    directory, base = os.path.split(path)
    for name in os.listdir(directory):
        if name.startswith(f"{base}.backup-v") and name.endswith((".part", ".part-journal")):
            os.unlink(os.path.join(directory, name))


def _copy(path: str, target: str, on_progress: Callable[[], None]) -> None:
    """Copy the history durably, while the write lock is held."""
    with (
        contextlib.closing(connect_read_only(path)) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy, pages=_COPIED_PAGES, progress=lambda *_: on_progress())
    descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
