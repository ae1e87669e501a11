"""What is derived never outranks the record: the index of workspaces, the search and the findings spare work, and
stand for no row."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Host, make, query, run

from agentic_watch.answers.past import dispatch_list, sql_dialects
from agentic_watch.answers.past.filters import Filter
from agentic_watch.commit.committer import Committer
from agentic_watch.history import HistoryError, findings_and_search, workspaces_table
from agentic_watch.history.store import History
from agentic_watch.inventory.last_seen import LastSeen

REPORT = {"findings": [{"tool": "gosec", "code": "G304"}, {"tool": "vet"}]}


def by_sql(history: Path, *statements: str) -> None:
    """What somebody does in a shell."""
    with contextlib.closing(sqlite3.connect(history)) as shell:
        for statement in statements:
            shell.execute(statement)
        shell.commit()


def restore(source: Path, target: Path) -> None:
    """What sqlite3's .backup and .restore do: the content goes over, whoever has the target open."""
    with contextlib.closing(sqlite3.connect(source)) as one, contextlib.closing(sqlite3.connect(target)) as other:
        one.backup(other)


def _delete(history: Path) -> None:
    by_sql(history, "DELETE FROM dispatch_history WHERE workspace = 'org/repo/a'")


def _salvage(history: Path) -> None:
    """Rows are lost without a trigger, as when a tool copies what it can read."""
    (trigger,) = query(history, "SELECT sql FROM sqlite_master WHERE name = 'dispatch_history_deleted'")
    by_sql(
        history,
        "DROP TRIGGER dispatch_history_deleted",
        "DELETE FROM dispatch_history WHERE workspace = 'org/repo/a'",
        "DELETE FROM findings WHERE dispatch_id NOT IN (SELECT id FROM dispatch_history)",
        trigger["sql"],
    )


def _rename(history: Path) -> None:
    by_sql(history, "UPDATE dispatch_history SET workspace = 'org/repo/c' WHERE workspace = 'org/repo/a'")


@pytest.mark.parametrize("lose", [_delete, _salvage, _rename])
@pytest.mark.parametrize("touched", [False, True])
def test_a_missing_row_is_found_whatever_the_index_says(
    host: Host, lose: Callable[[Path], None], touched: bool
) -> None:
    """The next pass puts it back from the journal's line, as it was, and appends nothing."""
    made = make(host.root, "org/repo/a", report=REPORT)
    make(host.root, "org/repo/b")
    host.once()
    before = dict(host.rows()["org/repo/a"])
    line = made.journal.read_bytes()
    lose(host.history)
    if touched:
        made.write_status(question="changed")
    assert host.once("--dry-run").counts["recovered_rows"] == 1
    again = host.once()
    assert (again.code, again.counts["recovered_rows"], again.counts.get("committed", 0)) == (0, 1, 0)
    after = dict(host.rows()["org/repo/a"])
    assert {**after, "id": 0} == {**before, "id": 0}
    assert made.journal.read_bytes() == line
    assert host.once().counts == {"scanned": 2, "skipped": 2}


def _insert(history: Path) -> None:
    columns = [row["name"] for row in query(history, "PRAGMA table_info(dispatch_history)") if row["name"] != "id"]
    others = {"workspace": "'by hand'", "commit_id": "NULL"}
    copied = f"SELECT {', '.join(others.get(name, name) for name in columns)} FROM dispatches LIMIT 1"
    by_sql(history, f"INSERT INTO dispatch_history ({', '.join(columns)}) {copied}")


def _insert_with_id(history: Path) -> None:
    _insert(history)
    by_sql(history, "UPDATE dispatch_history SET commit_id = 'an id' WHERE workspace = 'by hand'")


def _salvaged(history: Path) -> Path:
    copy = history.with_name("salvaged.db")
    restore(history, copy)
    _salvage(copy)
    return copy


def _restore_salvaged(history: Path) -> None:
    restore(_salvaged(history), history)


def _replace_by_salvaged(history: Path) -> None:
    salvaged = _salvaged(history)
    for end in ("-wal", "-shm"):
        Path(f"{history}{end}").unlink(missing_ok=True)
    salvaged.replace(history)


@pytest.mark.parametrize("change", [_insert, _insert_with_id, _salvage, _restore_salvaged, _replace_by_salvaged])
def test_a_process_that_has_counted_the_rows_notices_what_comes_or_goes_without_it(
    host: Host, change: Callable[[Path], None]
) -> None:
    """Also after commits and deletions that it knows of; these are no news."""
    for name in ("org/repo/a", "org/repo/b"):
        make(host.root, name)
    host.once()
    with contextlib.closing(History(str(host.history))) as history:
        history.open()
        history.close()
        by_sql(host.history, "DELETE FROM dispatch_history WHERE workspace = 'org/repo/b'")
        make(host.root, "org/repo/d")
        host.once()
        history.open()
        history.close()
        assert history.notices == []
        change(host.history)
        history.open()
        assert any("dispatches where" in notice for notice in history.notices), history.notices


def test_an_older_copy_put_in_place_before_the_index_is_written(host: Host, tmp_path: Path) -> None:
    """What was seen of a workspace is not believed when the row that it was seen beside is not there."""
    made = make(host.root, "org/repo/a")
    host.once()
    older = tmp_path / "older.db"
    restore(host.history, older)
    running = make(host.root, "org/repo/c", status="running")
    new = make(host.root, "org/repo/b")
    with contextlib.closing(History(str(host.history))) as history:
        last_seen = LastSeen(history)
        with contextlib.closing(Committer(host.config(), history)) as committer:
            for name in (new.name, running.name):
                last_seen.note(committer.commit(host.candidate(name)), time.time())
        with (
            contextlib.closing(sqlite3.connect(older)) as copy,
            contextlib.closing(sqlite3.connect(host.history)) as to,
        ):
            copy.backup(to)
        last_seen.flush()
    assert list(host.rows()) == [made.name]
    assert host.once().counts["recovered_rows"] == 1
    assert sorted(host.rows()) == [made.name, new.name]
    assert len(new.lines()) == 1


def test_a_row_that_is_deleted_before_the_index_is_written_comes_back(host: Host) -> None:
    """What the daemon has seen of a workspace relied on the row: its journal is read once more."""
    workspace = make(host.root)
    with (
        contextlib.closing(History(str(host.history))) as history,
        contextlib.closing(Committer(host.config(), history)) as committer,
    ):
        last_seen = LastSeen(history)
        for run_number in (1, 2):
            workspace.write_status(runs=run_number, updated_at=f"2026-04-14T11:00:0{run_number}Z")
            last_seen.note(committer.commit(host.candidate(workspace.name)), time.time())
        with contextlib.closing(sqlite3.connect(host.history)) as shell:
            shell.execute("DELETE FROM dispatch_history WHERE runs = 1")
            shell.commit()
        last_seen.flush()
    assert host.once().counts["recovered_rows"] == 1
    assert [row["runs"] for row in host.query("SELECT runs FROM dispatch_history ORDER BY runs")] == [1, 2]


def test_a_row_that_disagrees_gives_way_to_the_line(host: Host) -> None:
    """The marker, when it is written again, has the line's time of commit."""
    made = make(host.root)
    host.once()
    said = made.line()["committed_at"]
    by_sql(host.history, "UPDATE dispatch_history SET committed_at = '2001-01-01T00:00:00Z'")
    made.marker.unlink()
    host.once()
    assert made.mark()["committed_at"] == made.line()["committed_at"] == said


def test_a_missing_row_of_a_moved_workspace_is_found_too(host: Host) -> None:
    """What was seen of a workspace is forgotten by either of its names."""
    make(host.root, "org/repo/new")
    host.once()
    by_sql(
        host.history,
        "UPDATE dispatch_history SET workspace = 'org/repo/old', moved_to = 'org/repo/new'",
        "UPDATE workspaces SET signature = x'01', journal = x'02'",
        "DELETE FROM dispatch_history",
    )
    assert [tuple(r) for r in host.query("SELECT signature, journal FROM workspaces")] == [(b"", b"")]


@pytest.mark.parametrize("moved", [False, True])
def test_a_state_costs_the_same_among_thousands_of_one_moment(host: Host, moved: bool) -> None:
    """Of equal times, as a clock of whole seconds or an agent writes them, or all moved with their organisation."""
    workspace = make(host.root)
    host.once()

    def steps() -> int:
        """Of SQLite's virtual machine, in tens, to write the state once more."""
        counted: list[int] = []
        with contextlib.closing(History(str(host.history))) as history:
            state = workspaces_table.state(history, str(host.root), workspace.name)
            assert state is not None
            with history.reading() as connection:
                connection.set_progress_handler(lambda: counted.append(1), 10)
            workspaces_table.remember(history, [state])
        return len(counted)

    alone = steps()
    columns = [row["name"] for row in query(host.history, "SELECT name FROM pragma_table_info('dispatch_history')")]
    same = ", ".join(name for name in columns if name not in ("id", "commit_id", "workspace", "moved_to"))
    moved_to = "'o/r/to-' || n" if moved else "NULL"
    by_sql(
        host.history,
        "WITH RECURSIVE count (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM count WHERE n < 2000) "
        f"INSERT INTO dispatch_history (workspace, moved_to, {same}) "
        f"SELECT 'o/r/' || n, {moved_to}, {same} FROM count, dispatch_history",
    )
    assert steps() < alone * 3 / 2
    assert host.query("SELECT committed FROM workspaces")[0]["committed"] == 1


def _search_blocks(history: Path) -> None:
    by_sql(history, "UPDATE dispatch_search_data SET block = x'0102030405' WHERE id > 1")


def _search_structure(history: Path) -> None:
    by_sql(history, "UPDATE dispatch_search_data SET block = x'ffffffffffffff'")


def _search_empty(history: Path) -> None:
    by_sql(history, "DELETE FROM dispatch_search_data")


def _search_config(history: Path) -> None:
    by_sql(history, "DELETE FROM dispatch_search_config")


def _search_part(history: Path) -> None:
    by_sql(history, "DROP TABLE dispatch_search_data")


def _search_docsize(history: Path) -> None:
    by_sql(history, "DROP TABLE dispatch_search_docsize")


def _findings_page(history: Path) -> None:
    """The first page of the findings' table is overwritten."""
    (root,) = query(history, "SELECT rootpage FROM sqlite_master WHERE name = 'findings'")
    size = query(history, "PRAGMA page_size")[0][0]
    by_sql(history, "SELECT 1")
    with history.open("r+b") as file:
        file.seek((root[0] - 1) * size)
        file.write(b"\x0d" + b"\xa5" * 200)


DAMAGES = (_search_blocks, _search_structure, _search_empty, _search_config, _search_part, _search_docsize)


@pytest.mark.parametrize("damage", [*DAMAGES, _findings_page])
def test_damage_in_what_is_derived_stops_no_commit(host: Host, damage: Callable[[Path], None]) -> None:
    """Rows come as ever; search and findings are made anew, and nothing is moved aside."""
    make(host.root, "org/repo/a", report=REPORT, task="find the walrus")
    host.once()
    damage(host.history)
    new = make(host.root, "org/repo/b", report=REPORT, task="find the giraffe")
    assert host.once().code in (0, 1)
    assert host.once().code == 0
    assert sorted(host.rows()) == ["org/repo/a", "org/repo/b"]
    assert len(new.lines()) == 1
    assert list(host.history.parent.glob("*.corrupt-*")) == []
    with contextlib.closing(sqlite3.connect(host.history)) as shell:
        shell.execute("INSERT INTO dispatch_search (dispatch_search, rank) VALUES ('integrity-check', 1)")
        errors = [line for (line,) in shell.execute("PRAGMA integrity_check")]
        assert errors == ["ok"] or all(error.endswith("is never used") for error in errors)
        assert shell.execute("SELECT count(*) FROM findings").fetchone()[0] == 4
    for word in ("walrus", "giraffe"):
        assert run([*host.arguments(), "history", word, "--json"], host.base).stdout.count("\n") == 1
    by_sql(host.history, "DELETE FROM dispatch_history WHERE workspace = 'org/repo/a'")


def test_a_read_that_fails_once_is_not_taken_for_damage(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite calls a file malformed when the disk could not read it; the next try may find it whole."""
    take_in, errors = findings_and_search._take_in, [sqlite3.DatabaseError("database disk image is malformed")]

    def fails_once(connection: sqlite3.Connection, most: int) -> bool:
        if errors:
            raise errors.pop()
        return take_in(connection, most)

    monkeypatch.setattr(findings_and_search, "_take_in", fails_once)
    workspace = make(host.root, report=REPORT, task="find the walrus")
    with (
        contextlib.closing(History(str(host.history))) as history,
        contextlib.closing(Committer(host.config(), history)) as committer,
    ):
        committer.commit(host.candidate(workspace.name))
        history.catch_up(60)
        assert (errors, history.notices) == ([], [])
    assert run([*host.arguments(), "history", "walrus", "--json"], host.base).stdout.count("\n") == 1


def test_a_large_history_is_searched_again_while_work_goes_on(tmp_path: Path) -> None:
    """A slice at a time; what is inserted meanwhile is found at once."""
    from test_history import row

    def found(word: str) -> int:
        with sql_dialects.history(str(tmp_path / "history.db")) as asked:
            return len(list(dispatch_list.dispatches(asked, Filter(search=word))))

    with contextlib.closing(History(str(tmp_path / "history.db"))) as history:
        history.insert([row(f"w{number}", task=f"task{number:04}") for number in range(3_000)])
        history.catch_up(60)
        assert found("task2999") == 1
        _search_blocks(Path(history.path))
        history.insert([row("new", task="tasknew")])
        history.catch_up(1e-9)
        assert len([notice for notice in history.notices if "rebuilding" in notice]) == 1
        assert [found(word) for word in ("tasknew", "task0001", "task1999")] == [1, 1, 0]
        history.insert([row("newer", task="tasknewer")])
        assert found("tasknewer") == 1
        history.catch_up(60)
        assert found("task1999") == 1


def test_rows_that_somebody_inserted_by_sql_get_what_they_lack(host: Host) -> None:
    """A commit id, and a place in the search; deleting them again is no error."""
    make(host.root)
    host.once()
    names = [r["name"] for r in host.query("PRAGMA table_info(dispatch_history)")]
    columns = ", ".join(name for name in names if name not in ("id", "workspace", "commit_id", "task"))
    by_sql(
        host.history,
        f"INSERT INTO dispatch_history (workspace, task, {columns}) "
        f"SELECT 'by/hand/' || workspace, 'walrus', {columns} FROM dispatch_history",
    )
    host.once()
    host.once()
    (found,) = host.query("SELECT * FROM dispatch_history WHERE task = 'walrus'")
    assert len(found["commit_id"]) == 36
    assert len(host.query("SELECT rowid FROM dispatch_search WHERE dispatch_search MATCH 'walrus'")) == 1
    by_sql(host.history, "DELETE FROM dispatch_history")


@pytest.mark.parametrize("report", ["{bad", "[1]", '{"findings": 5}', r'{"findings": [{"tool": "\ud800"}]}'])
def test_a_report_that_somebodys_sql_has_spoilt_stops_nothing(host: Host, report: str) -> None:
    """The row is searched, listed, checked and exported as any other; what cannot be read of its report is left out."""
    make(host.root)
    host.once()
    names = [r["name"] for r in host.query("PRAGMA table_info(dispatch_history)")]
    others = {"workspace": "'by hand'", "task": "'walrus'", "report": f"'{report}'", "findings_count": "1"}
    names = [name for name in names if name not in ("id", "commit_id")]
    by_sql(
        host.history,
        f"INSERT INTO dispatch_history ({', '.join(names)}) "
        f"SELECT {', '.join(others.get(name, name) for name in names)} FROM dispatch_history",
    )
    assert host.once().code == 0
    assert len(host.query("SELECT rowid FROM dispatch_search WHERE dispatch_search MATCH 'walrus'")) == 1
    for command in (["history", "walrus", "--json"], ["export"], ["check"]):
        done = run([*host.arguments(), *command], host.base)
        assert "Traceback" not in done.stderr
        assert "walrus" in done.stdout or command == ["check"]


def test_what_sql_changes_before_the_search_has_it_leaves_the_search_whole(tmp_path: Path) -> None:
    """Findings that were deleted are made anew in the search, too; a check takes in however many rows wait."""
    from test_history import row

    path = tmp_path / "history.db"
    with contextlib.closing(History(str(path))) as history:
        history.insert([row(f"w{number}", report=REPORT) for number in range(100)])
    by_sql(
        path,
        "DELETE FROM findings WHERE dispatch_id = 50",
        "DELETE FROM dispatch_history WHERE id = 51",
        "UPDATE findings SET message = 'walrus' WHERE dispatch_id = 52",
        "UPDATE dispatch_history SET id = 9000, task = 'giraffe' WHERE id = 53",
    )
    names = [r["name"] for r in query(path, "PRAGMA table_info(dispatch_history)") if r["name"] not in ("id", "runs")]
    numbers = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 3000)"
    columns = ", ".join(name for name in names if name not in ("commit_id", "findings_count", "report"))
    by_sql(
        path,
        f"INSERT INTO dispatch_history (runs, findings_count, {columns}) {numbers} "
        f"SELECT n, 0, {columns} FROM n, dispatch_history WHERE id = 1",
    )
    assert findings_and_search.search_is_sound(str(path))
    assert findings_and_search.search_is_sound(str(path))
    by_sql(path, "DELETE FROM dispatch_history")
    assert findings_and_search.search_is_sound(str(path))


def test_a_commit_during_the_check_is_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that comes when the waiting ones are in the search, and before the two are compared."""
    from test_history import row

    path = tmp_path / "history.db"
    daemon = History(str(path), patience_ms=50)
    daemon.insert([row("first")])
    daemon.catch_up(60)
    take_in, tried = findings_and_search._take_in, []

    def and_then_another_commits(connection: sqlite3.Connection, most: int) -> bool:
        is_complete = take_in(connection, most)
        if not tried:
            tried.append(True)
            with contextlib.suppress(HistoryError):
                daemon.insert([row("second")])
        return is_complete

    monkeypatch.setattr(findings_and_search, "_take_in", and_then_another_commits)
    with contextlib.closing(daemon):
        assert findings_and_search.search_is_sound(str(path))
    assert tried
