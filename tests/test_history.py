"""The history: its tables and promises as another program sees them."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import Host, make, query, write_locked

from agentic_watch.history import rows, schema
from agentic_watch.history.history_errors import HistoryError, HistoryTooNew
from agentic_watch.history.rows import Row
from agentic_watch.history.store import History
from agentic_watch.workspace import record, status

FINDING = {
    "tool": "gosec",
    "severity": "warning",
    "file": "service.go",
    "line": 549,
    "column": 3,
    "code": "G304",
    "category": "security",
    "rule_id": "r1",
    "title": "inclusion",
    "message": "potential file inclusion via zebra",
}


def row(workspace: str = "w", updated_at: str = "2026-04-14T11:17:08Z", **fields: object) -> Row:
    """A row of a record with these status fields."""
    document = {"status": "completed", "updated_at": updated_at, **fields}
    parsed = status.parse(json.dumps(document).encode(), "status.json")
    return rows.from_record(record.from_status(workspace, parsed, {}, "2026-04-14T11:17:09Z"), "/root", "host")


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    """An open, empty history."""
    with contextlib.closing(History(str(tmp_path / "state" / "history.db"))) as made:
        made.open()
        yield made


def test_the_tables_are_the_contracts(history: History) -> None:
    """Every table has the contract's columns in its order, and is strict."""
    path = Path(history.path)
    wanted = {
        "dispatch_history": "id root workspace repo org task agent model branch status question issue runs process_id "
        "pr_url started_at updated_at committed_at started_utc updated_utc duration_ms passed build_passed "
        "test_passed lint_passed files_changed insertions deletions findings_count report host",
        "findings": "id dispatch_id tool severity category file line column code rule_id title message",
        "deliveries": "target dispatch_id attempts next_attempt_at last_error delivered_at",
        "workspaces": "root workspace status agent pid updated_at runs committed fail_count next_attempt_at last_error "
        "ghost seen_at",
    }
    strict = {r["name"]: r["strict"] for r in query(path, "PRAGMA table_list")}
    for table, columns in wanted.items():
        names = [r["name"] for r in query(path, f"PRAGMA table_info({table})")]
        assert names[: len(columns.split())] == columns.split()
        assert table == "workspaces" or len(names) == len(columns.split())
        assert strict[table] == 1


def test_it_is_wal_and_synced_in_full(history: History) -> None:
    """The file is in WAL mode, and the writing connection syncs each transaction and keeps references."""
    with history.reading() as connection:
        pragmas = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "user_version")
        }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "user_version": schema.VERSION}


def test_an_identity_is_one_row(history: History) -> None:
    """The same identity in another spelling is not inserted again, and changes nothing of the first."""
    assert history.insert([row(task="first")]) == 1
    assert history.insert([row(task="second", updated_at="2026-04-14T13:17:08.0+02:00")]) == 0
    others = [row(runs=1), row("v"), row(updated_at="2026-04-14T11:17:08.000000001Z")]
    assert history.insert([*others, *others]) == 3
    found = query(Path(history.path), "SELECT task FROM dispatch_history WHERE workspace = 'w' AND runs = 0")
    assert [r["task"] for r in found] == ["first", ""]
    with pytest.raises(HistoryError), history.transaction() as connection:
        connection.execute(
            "INSERT INTO dispatch_history SELECT NULL, root, workspace, repo, org, task, agent, model,"
            "branch, status, question, issue, runs, process_id, pr_url, started_at, updated_at,"
            "committed_at, started_utc, updated_utc, duration_ms, passed, build_passed, test_passed,"
            "lint_passed, files_changed, insertions, deletions, findings_count, report, host "
            "FROM dispatch_history LIMIT 1"
        )


def test_strict_tables_refuse_a_wrong_type(history: History) -> None:
    """Text in an integer column is an error, not a value."""
    history.insert([row()])
    with pytest.raises(HistoryError, match="TEXT value in INTEGER column"), history.transaction() as connection:
        connection.execute("UPDATE dispatch_history SET runs = 'many'")


def test_findings_are_exploded(host: Host) -> None:
    """Each finding is a row of its own with the report's values; what does not fit a column is NULL."""
    odd = {"line": "12", "column": 2**63, "message": None, "severity": 3, "tool": ["x"], "further": "kept in report"}
    make(host.root, report={"findings": [FINDING, odd, {}]})
    host.once()
    found = [dict(r) for r in host.query("SELECT * FROM findings ORDER BY id")]
    (dispatch,) = host.query("SELECT * FROM dispatch_history")
    assert {f.pop("dispatch_id") for f in found} == {dispatch["id"]}
    assert len({f.pop("id") for f in found}) == 3
    assert found[0] == FINDING
    assert found[1] == dict.fromkeys(FINDING) | {"severity": "3"}
    assert found[2] == dict.fromkeys(FINDING)
    assert dispatch["findings_count"] == 3
    assert json.loads(dispatch["report"])["findings"] == [FINDING, odd, {}]


def test_the_search_finds_task_question_and_finding(host: Host) -> None:
    """A word of the task, of the question or of a finding's message leads to its dispatch and to no other."""
    make(host.root, "a/b/1", task="Translate the walrus manual")
    make(host.root, "a/b/2", question="Which giraffe do you mean?", status="blocked")
    make(host.root, "a/b/3", report={"findings": [FINDING, {"message": "Übersetzung fehlt"}]})
    host.once()
    sql = (
        "SELECT workspace FROM dispatch_search JOIN dispatch_history ON dispatch_history.id = dispatch_search.rowid "
        "WHERE dispatch_search MATCH ?"
    )
    words = {
        "walrus": "a/b/1",
        "giraffe": "a/b/2",
        "zebra": "a/b/3",
        "übersetzung": "a/b/3",
        "findings: inclusion": "a/b/3",
    }
    for word, workspace in words.items():
        assert [r["workspace"] for r in host.query(sql, word)] == [workspace], word
    assert host.query(sql, "hippopotamus") == []


def test_the_search_index_agrees_with_its_tables(host: Host) -> None:
    """SQLite's own check of the full-text index against its content passes, after a rebuild from journals too."""
    for number in range(3):
        make(host.root, f"a/b/{number}", task=f"t{number}", report={"findings": [FINDING] * number})
    for _ in range(2):
        host.once()
        with contextlib.closing(sqlite3.connect(host.history)) as connection:
            connection.execute("INSERT INTO dispatch_search (dispatch_search, rank) VALUES ('integrity-check', 1)")
            assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        host.forget_history()


def test_dispatches_shows_the_newest_commit_of_each_dispatch(history: History) -> None:
    """Of one start and run only the newest commit is shown, unset starts being one start; all stay in the table."""
    start = "2026-04-14T10:00:00Z"
    history.insert(
        [
            row("w", "2026-04-14T11:00:00Z", started_at=start, status="blocked"),
            row("w", "2026-04-14T14:00:00+02:00", started_at="2026-04-14T12:00:00+02:00", status="merged"),
            row("w", "2026-04-14T11:30:00Z", started_at=start, runs=1),
            row("w", "2026-04-13T11:00:00Z", started_at="2026-04-13T10:00:00Z"),
            row("v", "2026-04-14T11:00:00Z"),
            row("v", "2026-04-14T11:00:00.000000001Z", status="merged"),
        ]
    )
    shown = query(Path(history.path), "SELECT workspace, updated_utc, status FROM dispatches ORDER BY id")
    assert [tuple(r) for r in shown] == [
        ("w", "2026-04-14T12:00:00.000000000Z", "merged"),
        ("w", "2026-04-14T11:30:00.000000000Z", "completed"),
        ("w", "2026-04-13T11:00:00.000000000Z", "completed"),
        ("v", "2026-04-14T11:00:00.000000001Z", "merged"),
    ]
    assert query(Path(history.path), "SELECT count(*) FROM dispatch_history")[0][0] == 6


def test_a_failing_transaction_leaves_nothing(history: History) -> None:
    """Rows of a group come together or not at all, and the history works on afterwards."""
    broken = Row((*row("b").values[:-1], None), ())
    with pytest.raises(HistoryError, match="NOT NULL"):
        history.insert([row("a"), broken, row("c")])
    assert query(Path(history.path), "SELECT count(*) FROM dispatch_history")[0][0] == 0
    assert history.insert([row("a")]) == 1


def test_a_locked_history_is_an_error_that_passes(history: History) -> None:
    """While another program writes, inserting fails after a while; reading goes on; then it works again."""
    history.insert([row("a")])
    with history.reading() as connection:
        connection.execute("PRAGMA busy_timeout = 50")
    with write_locked(Path(history.path)):
        with pytest.raises(HistoryError, match="locked"):
            history.insert([row("b")])
        assert len(history.committed("/root", ["a"])["a"]) == 1
    assert history.insert([row("b")]) == 1


def test_a_history_removed_under_an_open_connection_is_made_again(history: History) -> None:
    """Rows go into the file that is there by that name, never into a deleted one; a notice says so."""
    history.insert([row("a")])
    Path(history.path).unlink()
    for suffix in ("-wal", "-shm"):
        Path(history.path + suffix).unlink(missing_ok=True)
    assert history.insert([row("b")]) == 1
    assert [r["workspace"] for r in query(Path(history.path), "SELECT workspace FROM dispatch_history")] == ["b"]
    assert any("replaced or removed" in notice for notice in history.notices)


def test_a_newer_schema_is_refused_everywhere(tmp_path: Path) -> None:
    """Writing and read-only alike refuse a newer file, and leave each of its bytes."""
    path = tmp_path / "history.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    before = path.read_bytes()
    for read_only in (False, True):
        made = History(str(path), read_only=read_only)
        with (
            contextlib.closing(made),
            pytest.raises(
                HistoryTooNew, match=f"schema version {schema.VERSION + 1}, this program knows {schema.VERSION}"
            ),
        ):
            made.open()
    assert path.read_bytes() == before


def test_a_newer_history_that_was_not_closed_is_not_touched(tmp_path: Path) -> None:
    """A newer file with a log that was never copied into it keeps file and log as they are."""
    live, left = tmp_path / "live.db", tmp_path / "history.db"
    with contextlib.closing(sqlite3.connect(live)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
        for suffix in ("", "-wal"):
            shutil.copy(f"{live}{suffix}", f"{left}{suffix}")
    before = [Path(f"{left}{suffix}").read_bytes() for suffix in ("", "-wal")]
    with contextlib.closing(History(str(left))) as made, pytest.raises(HistoryTooNew):
        made.open()
    assert [Path(f"{left}{suffix}").read_bytes() for suffix in ("", "-wal")] == before


def test_many_writers_make_one_history(tmp_path: Path) -> None:
    """Histories opened on one new file at a time agree on its tables and lose no row."""
    path = str(tmp_path / "state" / "history.db")
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            with contextlib.closing(History(path)) as made:
                for runs in range(5):
                    made.insert([row(f"w{number}", runs=runs), row("shared", runs=runs)])
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert query(Path(path), "SELECT count(*) FROM dispatch_history")[0][0] == 25


def test_texts_go_through_whole(host: Host) -> None:
    """Quotes, NUL, newlines, emoji and a megabyte of text come out of the history as they went in."""
    texts = {"task": "'; DROP TABLE dispatch_history; --", "question": 'a\x00b\n"\U0001f600', "branch": "x" * 900_000}
    make(host.root, **texts)
    assert host.once().code == 0
    (found,) = host.query("SELECT * FROM dispatch_history")
    assert {key: found[key] for key in texts} == texts


def _as_version_1(path: Path) -> None:
    """Turn a history of today into one that the first version made: signatures as text, and the migrator's record."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for statement in (
            "DROP INDEX workspaces_open",
            "DROP INDEX dispatch_history_repo",
            "CREATE INDEX dispatch_history_repo ON dispatch_history (repo, updated_utc)",
            *(f"ALTER TABLE workspaces DROP COLUMN {name}" for name in ("signature", "journal")),
            *(f"ALTER TABLE workspaces ADD COLUMN {name} TEXT" for name in ("signature", "journal")),
            "CREATE TABLE _sqlite_migrations (id INTEGER PRIMARY KEY, migration_set TEXT, name TEXT, applied_at TEXT)",
            "INSERT INTO _sqlite_migrations VALUES (1, 'agentic_watch', 'create_history', '2026-11-23 10:00:00')",
            "UPDATE workspaces SET signature = '3.4.5.6||', journal = '3.4.5.6'",
            "PRAGMA user_version = 1",
        ):
            connection.execute(statement)
        connection.commit()


def test_an_older_history_is_upgraded_and_kept_as_a_backup(host: Host) -> None:
    """Rows and failure counts stay, workspaces are read once more, and the file as it was lies beside it."""
    made = [make(host.root, f"org/repo/{name}") for name in ("a", "b")]
    (host.root / "org/repo/c/.meta").mkdir(parents=True)
    (host.root / "org/repo/c/.meta/status.json").write_text("{")
    assert host.once().code == 3
    _as_version_1(host.history)
    before = [workspace.journal.read_bytes() for workspace in made]
    again = host.once()
    assert (again.counts["skipped"], again.counts["failed"], again.counts.get("committed", 0)) == (2, 1, 0)
    assert [workspace.journal.read_bytes() for workspace in made] == before
    assert [r["fail_count"] for r in host.query("SELECT fail_count FROM workspaces ORDER BY workspace")] == [0, 0, 2]
    assert query(host.history, "PRAGMA user_version")[0][0] == schema.VERSION
    (backup,) = host.history.parent.glob("history.db.backup-v1-*")
    assert query(backup, "PRAGMA user_version")[0][0] == 1
    assert [r["name"] for r in host.query("SELECT name FROM _sqlite_migrations ORDER BY id")] == [
        "create_history",
        "binary_signatures",
    ]
    fresh = Path(f"{host.history}-fresh")
    with contextlib.closing(History(str(fresh))) as history:
        history.open()
    assert _columns(host.history) == _columns(fresh)


def _columns(path: Path) -> set[tuple[str, ...]]:
    """Every index, and every column of the tables of ours with its type and whether it may be NULL."""
    indexes = {("index", r["name"], r["sql"] or "") for r in query(path, "SELECT name, sql FROM sqlite_master")}
    return {one for one in indexes if "CREATE INDEX" in one[2]} | {
        (table, r["name"], r["type"], str(r["notnull"]))
        for table in ("dispatch_history", "findings", "workspaces", "deliveries")
        for r in query(path, f"PRAGMA table_info({table})")
    }


def test_an_older_history_is_read_only_after_its_upgrade(host: Host) -> None:
    """A query does not upgrade; it says who does."""
    make(host.root)
    host.once()
    _as_version_1(host.history)
    history = History(str(host.history), read_only=True)
    said = "has schema version 1; the daemon or --once brings it to 2"
    with contextlib.closing(history), pytest.raises(HistoryError, match=said):
        history.open()
