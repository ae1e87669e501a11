"""The history: its tables and promises as another program sees them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from older_history import OLDER, as_schema
from support import Host, make, query, run, write_locked

from agentic_watch.config import Root
from agentic_watch.history import HistoryError, HistoryTooNew, commit_lookup, history_file, rows, workspaces_table
from agentic_watch.history.columns import HISTORY_COLUMNS
from agentic_watch.history.history_file import APPLICATION_ID
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
        "test_passed lint_passed files_changed insertions deletions findings_count report host commit_id moved_to "
        "session_id head_commit input_tokens cache_read_tokens cache_write_tokens output_tokens turns cost_microusd",
        "kept_files": "dispatch_id name bytes kept_from content",
        "findings": "id dispatch_id tool severity category file line column code rule_id title message",
        "about": "history_id pruned_before created_at",
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
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "user_version": history_file.VERSION}


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
            f"lint_passed, files_changed, insertions, deletions, findings_count, report, host{', NULL' * 10} "
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
        "SELECT dispatch_history.workspace FROM dispatch_search "
        "JOIN dispatch_history ON dispatch_history.id = dispatch_search.rowid WHERE dispatch_search MATCH ?"
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
    broken = Row(
        tuple(None if name == "host" else value for name, value in zip(HISTORY_COLUMNS, row("b").values, strict=True)),
        (),
    )
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
        assert len(commit_lookup.committed(history, "/root", ["a"])["a"]) == 1
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
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA user_version = {history_file.VERSION + 1}")
    before = path.read_bytes()
    for read_only in (False, True):
        made = History(str(path), read_only=read_only)
        with (
            contextlib.closing(made),
            pytest.raises(
                HistoryTooNew,
                match=f"schema version {history_file.VERSION + 1}, this program knows {history_file.VERSION}",
            ),
        ):
            made.open()
    assert path.read_bytes() == before


def test_a_newer_history_that_was_not_closed_is_not_touched(tmp_path: Path) -> None:
    """A newer file with a log that was never copied into it keeps file and log as they are."""
    live, left = tmp_path / "live.db", tmp_path / "history.db"
    with contextlib.closing(sqlite3.connect(live)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA user_version = {history_file.VERSION + 1}")
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


@pytest.mark.parametrize("version", OLDER)
def test_an_older_history_is_upgraded_and_kept_as_a_backup(host: Host, version: str) -> None:
    """Rows and failure counts stay, workspaces are read once more, and the file as it was lies beside it."""
    made = [make(host.root, f"org/repo/{name}", report={"findings": [FINDING]}) for name in ("a", "b")]
    (host.root / "org/repo/c/.meta").mkdir(parents=True)
    (host.root / "org/repo/c/.meta/status.json").write_text("{")
    assert host.once().code == 3
    rows = [tuple(r) for r in host.query("SELECT * FROM dispatch_history ORDER BY id")]
    as_schema(host.history, version)
    before = [workspace.journal.read_bytes() for workspace in made]
    again = host.once()
    assert (again.counts["skipped"], again.counts["failed"], again.counts.get("committed", 0)) == (2, 1, 0)
    assert [workspace.journal.read_bytes() for workspace in made] == before
    number = version[0]
    assert [r["fail_count"] for r in host.query("SELECT fail_count FROM workspaces ORDER BY workspace")] == [0, 0, 2]
    assert [tuple(r) for r in host.query("SELECT * FROM dispatch_history ORDER BY id")] == rows
    assert len(host.query("SELECT rowid FROM dispatch_search WHERE dispatch_search MATCH 'G304'")) == 2
    pragmas = {name: query(host.history, f"PRAGMA {name}")[0][0] for name in ("user_version", "application_id")}
    assert pragmas == {"user_version": history_file.VERSION, "application_id": APPLICATION_ID}
    (backup,) = host.history.parent.glob("*.backup-*")
    assert backup.name.startswith(f"history.db.backup-v{number}-")
    assert query(backup, "PRAGMA user_version")[0][0] == int(number)
    assert f"was upgraded from schema {number} to {history_file.VERSION}" in again.stderr
    assert str(backup) in again.stderr
    applied = [r["name"] for r in host.query("SELECT name FROM _sqlite_migrations ORDER BY id")]
    # The fixture of schema 1 holds what its program noted.
    former = {"1": ["create_history", "binary_signatures", "ids_for_good"], "2": ["ids_for_good"]}
    assert applied == [*former.get(number, ()), "usage_and_kept_files"]
    fresh = Path(f"{host.history}-fresh")
    with contextlib.closing(History(str(fresh))) as history:
        history.open()
    assert _columns(host.history) == _columns(fresh)


def _columns(path: Path) -> set[tuple[str, ...]]:
    """Every index, and every column of the tables of ours with its type and whether it may be NULL."""
    made = {("made", r["name"], r["sql"] or "") for r in query(path, "SELECT name, sql FROM sqlite_master")}
    return {one for one in made if not one[2].startswith("CREATE TABLE") and one[2] and "_sqlite_" not in one[2]} | {
        (table, r["name"], r["type"], str(r["notnull"]))
        for table in ("dispatch_history", "findings", "kept_files", "workspaces", "about", "upkeep")
        for r in query(path, f"PRAGMA table_info({table})")
    }


@pytest.mark.parametrize("version", OLDER)
def test_an_older_history_is_read_only_after_its_upgrade(host: Host, version: str) -> None:
    """A query does not upgrade; it says who does."""
    make(host.root)
    host.once()
    as_schema(host.history, version)
    history = History(str(host.history), read_only=True)
    said = f"has schema version {version[0]}; the daemon or --once upgrades it to {history_file.VERSION}"
    with contextlib.closing(history), pytest.raises(HistoryError, match=said):
        history.open()


@pytest.mark.parametrize("version", ["3", "3-late"])
def test_an_upgrade_keeps_what_an_operator_made_on_the_dispatches(host: Host, version: str) -> None:
    """Columns with their values and default, indexes on them, and triggers, which see no change in the upgrade."""
    made = make(host.root, report={"usage": {"turns": 7}})
    host.once()
    as_schema(host.history, version)
    with contextlib.closing(sqlite3.connect(host.history)) as shell:
        shell.executescript(
            """
            ALTER TABLE dispatch_history ADD COLUMN "my ticket" TEXT DEFAULT 'none';
            ALTER TABLE dispatch_history ADD COLUMN Turns INTEGER;
            UPDATE dispatch_history SET "my ticket" = 'T-1', turns = 1000;
            CREATE INDEX by_ticket ON dispatch_history ("my ticket");
            CREATE TRIGGER append_only BEFORE UPDATE ON dispatch_history WHEN old.task <> new.task OR new.turns = 7
            BEGIN SELECT raise(ABORT, 'append only'); END;
            """
        )
    made.write_status(runs=1)
    assert host.once().code == 0
    found = host.query('SELECT "my ticket", turns FROM dispatch_history ORDER BY id')
    assert [tuple(r) for r in found] == [("T-1", 7), ("none", 7)]
    names = "SELECT name FROM sqlite_master WHERE name IN ('by_ticket', 'append_only')"
    assert len(host.query(names)) == 2


def test_an_upgrade_that_is_held_up_leaves_no_copies(host: Host) -> None:
    """While somebody holds the lock, each attempt fails without copying; the one that succeeds leaves one copy."""
    make(host.root)
    host.once()
    as_schema(host.history, 2)
    with write_locked(host.history):
        for _ in range(2):
            with contextlib.closing(History(str(host.history))) as history, pytest.raises(HistoryError, match="locked"):
                history.open()
    assert list(host.history.parent.glob("*.backup-*")) == []
    assert host.once().code == 0
    assert len(list(host.history.parent.glob("*.backup-*"))) == 1


def test_an_upgrade_that_fails_is_undone_and_its_copy_removed(host: Host) -> None:
    """A history whose tables are not what its version says stays as it was."""
    make(host.root)
    host.once()
    as_schema(host.history, 2)
    with contextlib.closing(sqlite3.connect(host.history)) as connection:
        connection.execute("ALTER TABLE dispatch_history DROP COLUMN pr_url")
    with contextlib.closing(History(str(host.history))) as history, pytest.raises(HistoryError, match="pr_url"):
        history.open()
    assert list(host.history.parent.glob("*.backup-*")) == []
    assert query(host.history, "PRAGMA user_version")[0][0] == 2
    assert len(query(host.history, "SELECT * FROM deliveries")) == 0


def test_a_long_upgrade_tells_that_it_lives(host: Host) -> None:
    """Who waits for an upgrade hears of it while it goes on."""
    make(host.root)
    host.once()
    with contextlib.closing(History(str(host.history))) as history:
        history.insert([row(f"w{number}") for number in range(2_000)])
    as_schema(host.history, 2)
    heard: list[str] = []
    with contextlib.closing(History(str(host.history), on_progress=heard.append)) as history:
        history.open()
    assert any(said.startswith("copying the history to ") for said in heard)
    assert f"upgrading the history from schema 2 to {history_file.VERSION}" in heard


def test_what_a_killed_upgrade_left_is_removed(host: Host) -> None:
    """The unfinished copy of a run that was killed goes with the next upgrade; finished ones stay."""
    make(host.root)
    host.once()
    as_schema(host.history, 2)
    ends = (".part", ".part-journal", "")
    unfinished, log, finished = (Path(f"{host.history}.backup-v2-20260101T000000Z{end}") for end in ends)
    unfinished.write_bytes(b"half")
    log.write_bytes(b"half")
    finished.write_bytes(b"whole")
    host.once()
    assert not unfinished.exists()
    assert not log.exists()
    assert finished.read_bytes() == b"whole"


def test_a_copy_without_a_log_is_brought_to_wal(history: History) -> None:
    """What VACUUM INTO made is in no WAL mode; put in place it is, from its first opening on."""
    history.insert([row()])
    history.close()
    copy = Path(f"{history.path}-copy")
    with contextlib.closing(sqlite3.connect(history.path)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))
    with contextlib.closing(History(str(copy))) as restored, restored.reading() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"


def test_a_history_tells_which_it_is(history: History) -> None:
    """Each history has an id of its own, for good, and knows since when it is there."""
    (about,) = query(Path(history.path), "SELECT * FROM about")
    assert str(uuid.UUID(about["history_id"])) == about["history_id"]
    assert about["pruned_before"] is None
    assert about["created_at"].endswith("Z")
    with contextlib.closing(History(f"{history.path}-other")) as other:
        other.open()
        assert query(Path(other.path), "SELECT history_id FROM about")[0][0] != about["history_id"]


def test_a_commit_has_an_id_made_of_its_identity(history: History) -> None:
    """Every program that knows root, workspace, instant and run makes the same id."""
    history.insert([row("org/repo/wörk", "2026-04-14T13:17:08.5+02:00", runs=3)])
    identity = b"/root\0" + "org/repo/wörk".encode() + b"\x002026-04-14T11:17:08.500000000Z\x003"
    wanted = str(uuid.UUID(bytes=hashlib.sha256(identity).digest()[:16]))
    assert query(Path(history.path), "SELECT commit_id FROM dispatch_history")[0][0] == wanted


def test_an_id_is_never_used_twice(history: History) -> None:
    """The next dispatch inherits nothing of a row that was deleted by SQL, not its number either."""
    finding = {"findings": [FINDING]}
    history.insert([row("a"), row("b", report=finding)])
    with contextlib.closing(sqlite3.connect(history.path)) as shell:
        shell.execute("DELETE FROM dispatch_history WHERE workspace = 'b'")
        shell.commit()
    history.insert([row("c")])
    with contextlib.closing(sqlite3.connect(history.path)) as shell:
        shell.execute("DELETE FROM dispatch_history")
        shell.commit()
    history.insert([row("d")])
    assert [tuple(r) for r in query(Path(history.path), "SELECT id, workspace FROM dispatch_history")] == [(4, "d")]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM dispatch_history",
        "DELETE FROM dispatch_history WHERE id = 2",
        "DELETE FROM findings WHERE tool = 'gosec'",
        "DELETE FROM findings",
        "UPDATE dispatch_history SET task = 'walrus', question = 'which?' WHERE id < 3",
        "UPDATE findings SET message = 'giraffe', dispatch_id = 1",
    ],
)
@pytest.mark.parametrize("foreign_keys", [0, 1])
def test_what_somebody_does_by_sql_leaves_findings_and_search_whole(
    host: Host, statement: str, foreign_keys: int
) -> None:
    """No orphaned finding, and a search that agrees with the tables, whatever a shell deleted or changed."""
    for number in range(3):
        make(host.root, f"a/b/{number}", task=f"t{number}", report={"findings": [FINDING, {"tool": "vet"}] * number})
    host.once()
    with contextlib.closing(sqlite3.connect(host.history)) as shell:
        shell.execute(f"PRAGMA foreign_keys = {foreign_keys}")
        shell.execute(statement)
        shell.commit()
        shell.execute("INSERT INTO dispatch_search (dispatch_search, rank) VALUES ('integrity-check', 1)")
        assert shell.execute("PRAGMA foreign_key_check").fetchall() == []
        count = shell.execute("SELECT count(*) FROM dispatch_history").fetchone()[0]
        assert shell.execute("SELECT rows FROM upkeep").fetchone()[0] == count
        for word, column in (("walrus", "task"), ("giraffe", "findings")):
            found = shell.execute("SELECT rowid FROM dispatch_search WHERE dispatch_search MATCH ?", (word,)).fetchall()
            sql = f"SELECT id FROM dispatch_text WHERE {column} LIKE ?"
            assert found == shell.execute(sql, (f"%{word}%",)).fetchall()


def test_the_search_finds_what_people_look_for(host: Host) -> None:
    """Codes, tools, files, rules and titles of findings, workspaces, repositories, agents and branches."""
    make(host.root, "acme/billing/task-101", agent="claude:opus", branch="agent/fix-rounding", repo="billing")
    make(host.root, "acme/gateway/task-7", agent="codex", repo="gateway", report={"findings": [FINDING]})
    host.once()
    billing = ("task-101", "billing", "acme/billing", "claude:opus", "opus", "fix-rounding", "BILLING")
    gateway = ("G304", "g304", "gosec", "service.go", "r1", "inclusion", "zebra", "codex", "task-7")
    for words, wanted in ((billing, "acme/billing/task-101"), (gateway, "acme/gateway/task-7")):
        for word in words:
            found = run([*host.arguments(), "history", word, "--json"], host.base)
            assert [json.loads(line)["workspace"] for line in found.stdout.splitlines()] == [wanted], word


def test_a_history_whose_making_was_killed_is_made(tmp_path: Path) -> None:
    """The file says whose it is before it has a table; the next opening goes on from there."""
    path = tmp_path / "history.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA journal_mode = WAL")
    with contextlib.closing(History(str(path))) as history:
        assert history.insert([row()]) == 1
        assert history.notices == []


def test_groups_of_every_size_are_looked_up_in_little_memory(history: History) -> None:
    """The connection keeps a prepared statement for each number that it was asked for at once."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    names = [str(number) for number in range(256)]
    history.insert([row(name) for name in names])
    said = status.parse(b'{"status": "completed", "updated_at": "2026-04-14T11:17:08Z"}', "status.json")
    asked = [commit_lookup.lookup_of(name, said) for name in names]
    before = resident()
    for count in range(1, 257):
        found, _ = commit_lookup.held(history, Root("/root"), asked[:count])
        assert len(found) == count
        assert len(commit_lookup.told(history, Root("/root"), "w", asked[:count])) == count
        workspaces_table.journal_signatures(history, "/root", names[:count])
    assert resident() - before < 8 << 20
