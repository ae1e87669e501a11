"""`export` and `import`: what leaves a history comes back whole, and only once."""

import contextlib
import csv
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import JOURNAL_KEYS, Host, command, environment, make, run, start, wait_for
from test_history import row

from agentic_watch.history.history_file import connect_untouched
from agentic_watch.history.store import History

REPORT = {
    "passed": True,
    "findings": [{"tool": "gosec", "file": "a.go", "line": 3, "code": "G304", "message": "päth"}, {"title": "two"}],
    "changes": {"files_changed": 2, "insertions": 30, "deletions": 4},
    "clusters": [[1, 2.5, None]],
}
IDENTIFYING = {"host_id", "commit_id", "host", "root", "schema", "moved_to"}


@pytest.fixture
def full(host: Host) -> Host:
    """A host with three commits, one with a report, one of them a second run."""
    first = make(host.root, "o/r/one", runs=1, status="failed", question="why?", agent="codex:gpt-5")
    make(host.root, "o/r/two", report=REPORT, task="Größer\nund besser")
    host.once()
    first.write_status(runs=2, updated_at="2026-04-15T08:00:00.000000001Z")
    host.once()
    return host


def other(host: Host) -> Path:
    """A history of another host that is not there yet."""
    return host.base / "other" / "history.db"


def export(host: Host, *options: str) -> tuple[list[dict[str, Any]], str]:
    """The exported objects, and the cursor."""
    result = run([*host.arguments(), "export", *options], host.base)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()], result.stderr.split("--after ")[1].strip()


def take(host: Host, *files: Path | str, history: Path | None = None, code: int = 0) -> list[dict[str, Any]]:
    """Import files into a history, another one unless it is named; gives what became of each."""
    arguments = ["--history", str(history or other(host)), "import", "--json", *map(str, files)]
    result = run(arguments, host.base)
    assert result.returncode == code, result.stderr
    found: list[dict[str, Any]] = json.loads(result.stdout)["files"]
    return found


def counts(taken: dict[str, Any]) -> tuple[int, int, int]:
    return taken["imported_count"], taken["skipped_count"], taken["invalid_count"]


def content(host: Host, history: Path) -> tuple[list[Any], list[Any]]:
    """All rows but their numbers, and all findings by commit."""
    rows = [dict(row) for row in host.query("SELECT * FROM dispatch_history ORDER BY commit_id", history=history)]
    findings = host.query(
        "SELECT d.commit_id, f.tool, f.file, f.line, f.code, f.title, f.message FROM findings AS f "
        "JOIN dispatch_history AS d ON d.id = f.dispatch_id ORDER BY d.commit_id, f.id",
        history=history,
    )
    return [{**row, "id": 0} for row in rows], [tuple(row) for row in findings]


def test_a_line_is_the_journals_record_and_whose_it_is(full: Host) -> None:
    """Each commit is one object: the keys of its journal line with the same values, and six more."""
    lines, _ = export(full)
    two = next(line for line in lines if line["workspace"] == "o/r/two")
    assert set(two) == {*JOURNAL_KEYS, "report", "findings", "changes"} | IDENTIFYING
    journal = json.loads((full.root / "o/r/two/.meta/journal.jsonl").read_text())
    assert {key: two[key] for key in journal} == journal
    assert (two["schema"], two["root"]) == (1, str(full.root))
    assert len({line["host_id"] for line in lines}) == 1
    assert [line["runs"] for line in lines if line["workspace"] == "o/r/one"] == [1, 2]


def test_what_was_exported_comes_back_whole(full: Host) -> None:
    """Rows, reports, findings and search are the same in a history that was filled from an export."""
    file = full.base / "all.jsonl"
    file.write_text(run([*full.arguments(), "export"], full.base).stdout)
    (taken,) = take(full, file)
    assert (taken["kind"], taken["read_count"], *counts(taken)) == ("export", 3, 3, 0, 0)
    assert content(full, other(full)) == content(full, full.history)
    found = run(["--history", str(other(full)), "history", "--json", "besser"], full.base)
    assert json.loads(found.stdout)["workspace"] == "o/r/two"


def test_what_is_there_is_skipped(full: Host) -> None:
    """A second import, and one of a larger export, add what is new and nothing twice."""
    lines, _ = export(full)
    file = full.base / "lines.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines[:2]))
    assert counts(take(full, file)[0]) == (2, 0, 0)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert counts(take(full, file)[0]) == (1, 2, 0)
    assert counts(take(full, file)[0]) == (0, 3, 0)
    assert len(full.query("SELECT 1 FROM dispatch_history", history=other(full))) == 3


def test_an_export_goes_on_where_the_last_one_ended(full: Host) -> None:
    """After a cursor only newer commits come; with a cursor of another history all do."""
    lines, cursor = export(full)
    assert export(full, "--after", cursor) == ([], cursor)
    make(full.root, "o/r/three")
    full.once()
    newer, _ = export(full, "--after", cursor)
    assert [line["workspace"] for line in newer] == ["o/r/three"]
    assert export(full, "--after", cursor.partition(":")[2])[0] == newer
    another = f"{'0' * 8}-0000-0000-0000-{'0' * 12}:3"
    assert len(export(full, "--after", another)[0]) == len(lines) + 1


@pytest.mark.parametrize("form", ["lines", "csv"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_export_that_is_ended_says_how_far_it_came(full: Host, form: str, number: signal.Signals) -> None:
    """The cursor is that of the last line, which is whole: the next export prints the others, and none twice."""
    with closing(History(str(full.history))) as history:
        history.insert([row("many", runs=runs, task="x" * 300) for runs in range(1_200)])
    csv_of = ["--csv"] if form == "csv" else []
    process = start([*full.arguments(), "export", *csv_of], full.base)
    assert process.stdout is not None
    began = os.read(process.stdout.fileno(), 1).decode()  # it writes until the pipe is full, amid what it read at once
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    count, after = re.findall(r"interrupted: exported ([\d,]+); --after (\S+) continues\n", err)[0]
    rest = run([*full.arguments(), "export", *csv_of, "--after", after], full.base).stdout
    first, then = _ids(began + out, form), _ids(rest, form)
    assert len(first) == int(count.replace(",", "")) < 1_203
    assert first + then == _ids(run([*full.arguments(), "export", *csv_of], full.base).stdout, form)


def _ids(exported: str, form: str) -> list[str]:
    if form == "csv":
        return [line["commit_id"] for line in csv.DictReader(io.StringIO(exported, newline=""))]
    return [json.loads(line)["commit_id"] for line in exported.splitlines()]


def test_csv_has_every_column(full: Host) -> None:
    """CSV holds the same commits, one line each with a header, commas and newlines within quotes."""
    result = run([*full.arguments(), "export", "--csv"], full.base)
    rows = list(csv.DictReader(io.StringIO(result.stdout, newline="")))
    assert [row["task"] for row in rows if row["workspace"] == "o/r/two"] == ["Größer\nund besser"]
    assert [row["commit_id"] for row in rows] == [line["commit_id"] for line in export(full)[0]]


def test_an_export_can_be_piped_into_an_import(full: Host) -> None:
    """`-` is stdin."""
    lines = run([*full.arguments(), "export"], full.base).stdout
    arguments = ["--history", str(other(full)), "import", "-"]
    result = subprocess.run(
        command(arguments),
        input=lines.encode(),
        env=environment(full.base),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert result.stdout.decode() == "-: export: 3 imported, 0 skipped, 0 invalid\n"


def test_another_hosts_history_is_imported(full: Host) -> None:
    """A history is taken as it is, its host's name and reports with it, and not changed."""
    copy = full.base / "copy.db"
    run([*full.arguments(), "backup", str(copy)], full.base)
    with closing(sqlite3.connect(copy)) as connection, connection:
        connection.execute("UPDATE dispatch_history SET host = 'far'")
    before = copy.read_bytes()
    (taken,) = take(full, copy)
    assert (taken["kind"], *counts(taken)) == ("history", 3, 0, 0)
    assert {row["host"] for row in full.query("SELECT host FROM dispatch_history", history=other(full))} == {"far"}
    assert copy.read_bytes() == before


def test_a_pipe_that_has_a_name_is_read_whole(full: Host) -> None:
    """As `import <(zcat archive.gz)` gives it: nothing is taken of it to see what it is."""
    lines = run([*full.arguments(), "export"], full.base).stdout.encode()
    result = subprocess.run(
        command(["--history", str(other(full)), "import", "/dev/stdin"]),
        input=lines,
        env=environment(full.base),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert result.stdout.decode() == "/dev/stdin: export: 3 imported, 0 skipped, 0 invalid\n"


def test_reports_that_sql_wrote_come_in_as_a_commit_writes_them(full: Host) -> None:
    """Of a key that stands twice the last one counts, everywhere; a number that JSON does not know is named."""
    copy = full.base / "copy.db"
    run([*full.arguments(), "backup", str(copy)], full.base)
    written = {
        1: '{"passed":NaN}',
        2: '{"findings":[{"tool":"a"}], "findings":[{"tool":"b"}]}',
        3: '{"z":1.10,"a":true}',
    }
    with closing(sqlite3.connect(copy)) as connection, connection:
        for number, report in written.items():
            connection.execute("UPDATE dispatch_history SET report = ? WHERE id = ?", (report, number))
    (taken,) = take(full, copy, code=1)
    assert counts(taken) == (2, 0, 1)
    assert "dispatch 1: its report holds a number that JSON does not know" in taken["failures"][0]["error"]
    reports = {row["report"] for row in full.query("SELECT report FROM dispatch_history", history=other(full))}
    assert reports == {'{"findings":[{"tool":"b"}]}', '{"a":true,"z":1.1}'}
    exported = run(["--history", str(other(full)), "export"], full.base).stdout
    assert '"findings":[{"tool":"b"}]' in exported and '"tool":"a"' not in exported


def test_an_older_schema_is_imported_without_an_upgrade(full: Host) -> None:
    """A history that lacks today's columns is read too, and its commits get the ids that they have everywhere."""
    old = full.base / "old.db"
    run([*full.arguments(), "backup", str(old)], full.base)
    with closing(sqlite3.connect(old)) as connection, connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(dispatch_history)")]
        kept = ", ".join(name for name in columns if name not in ("commit_id", "moved_to"))
        tables = "dispatch_history", "findings"
        rows = connection.execute(f"SELECT {kept} FROM dispatch_history").fetchall()
        findings = connection.execute("SELECT * FROM findings").fetchall()
    old.unlink()
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute(f"CREATE TABLE {tables[0]} ({kept})")
        columns = 'id, dispatch_id, tool, severity, category, file, line, "column", code, rule_id, title, message'
        connection.execute(f"CREATE TABLE findings ({columns})")
        connection.execute("CREATE TABLE workspaces (root)")
        connection.executemany(f"INSERT INTO dispatch_history VALUES ({', '.join('?' * len(rows[0]))})", rows)
        connection.executemany(f"INSERT INTO findings VALUES ({', '.join('?' * 12)})", findings)
        connection.execute("PRAGMA user_version = 2")
    assert counts(take(full, old)[0]) == (3, 0, 0)
    assert content(full, other(full)) == content(full, full.history)


def test_lines_that_are_none_are_named_and_the_others_imported(full: Host) -> None:
    """Broken, foreign and incomplete lines are counted and named by number; the exit status is 1."""
    lines, _ = export(full)
    bad = ["{", "[]", json.dumps({**lines[0], "root": ""}), json.dumps({**lines[0], "schema": 2}), "null", "\x00"]
    file = full.base / "mixed.jsonl"
    file.write_text("\n".join([json.dumps(lines[0]), *bad, "", json.dumps(lines[1])]) + "\n")
    result = run(["--history", str(other(full)), "import", str(file)], full.base)
    assert result.returncode == 1
    assert result.stdout == f"{file}: export: 2 imported, 0 skipped, 6 invalid\n"
    assert f"failed: {file}: line 2: is not JSON" in result.stderr
    assert f"failed: {file}: and 1 more" in result.stderr
    assert result.stderr.count("\n") == 6


@pytest.mark.parametrize("kind", ["missing", "directory", "database"])
def test_what_cannot_be_imported_is_one_line(full: Host, kind: str) -> None:
    """A missing file, a directory and another program's database are named, and the next file is taken."""
    wrong, right = full.base / "wrong", full.base / "right.jsonl"
    if kind == "directory":
        wrong.mkdir()
    elif kind == "database":
        with closing(sqlite3.connect(wrong)) as connection, connection:
            connection.execute("CREATE TABLE music (title)")
    right.write_text(run([*full.arguments(), "export"], full.base).stdout)
    first, second = take(full, wrong, right, code=1)
    assert str(wrong) in first["error"]
    assert (second["imported_count"], second["error"]) == (3, None)


def store(path: Path, *entries: tuple[str, str, Any]) -> Path:
    """A store as the original has it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "CREATE TABLE entries (group_name TEXT NOT NULL, entry_key TEXT NOT NULL, entry_value TEXT NOT NULL, "
            "expires_at INTEGER, PRIMARY KEY (group_name, entry_key))"
        )
        values = ((group, key, value if isinstance(value, str) else json.dumps(value)) for group, key, value in entries)
        connection.executemany("INSERT INTO entries VALUES (?, ?, ?, NULL)", values)
    return path


RECORD = {
    "id": "core/go-io/task-5",
    "workspace": "core/go-io/task-5",
    "repo": "go-io",
    "org": "core",
    "agent": "codex:gpt-5.4",
    "status": "completed",
    "issue": 5,
    "runs": 1,
    "started_at": "2026-04-14T10:00:00.5+01:00",
    "updated_at": "2026-04-14T11:17:08.123456789+01:00",
    "committed_at": "2026-04-14T10:17:09Z",
    "report": REPORT,
    "findings": REPORT["findings"],
    "changes": REPORT["changes"],
    "synced": False,
}
SUMMARY = {
    "workspace": "core/go-io/task-4",
    "repo": "go-io",
    "agent": "claude:opus",
    "model": "opus",
    "status": "failed",
    "runs": 2,
    "updated_at": "2026-04-13T09:00:00Z",
    "completed_at": "2026-04-13T09:00:02Z",
    "build_passed": True,
    "test_passed": False,
    "lint_passed": False,
    "passed": False,
    "findings_total": 3,
    "insertions": 7,
}


def test_the_originals_store_is_imported(host: Host) -> None:
    """Records come whole; of the summaries those that no record tells; queues and broken values do not."""
    same = {**SUMMARY, "workspace": RECORD["workspace"], "runs": 1, "updated_at": "2026-04-14T10:17:08Z"}
    path = store(
        host.base / "db.duckdb",
        ("dispatch_history", "core/go-io/task-5", RECORD),
        ("stats", "core/go-io/task-4", SUMMARY),
        ("stats", "core/go-io/task-5", same),
        ("dispatch_history", "core/go-io/task-6", "{"),
        ("queue", "core/go-io", "[]"),
    )
    history = host.history
    result = run([*host.arguments(), "import", str(path)], host.base)
    assert result.stdout == f"{path}: store: 2 imported, 0 skipped, 1 invalid\n"
    assert result.stderr.startswith(f"failed: {path}: dispatch_history core/go-io/task-6: is not JSON")
    rows = {row["workspace"]: row for row in host.query("SELECT * FROM dispatch_history", history=history)}
    five, four = rows["core/go-io/task-5"], rows["core/go-io/task-4"]
    assert (five["updated_at"], five["findings_count"], five["root"]) == (RECORD["updated_at"], 2, str(host.root))
    assert (four["status"], four["build_passed"], four["test_passed"], four["insertions"]) == ("failed", 1, 0, 7)
    assert (four["committed_at"], four["started_utc"]) == ("2026-04-13T09:00:02Z", None)
    again = run([*host.arguments(), "import", str(path)], host.base)
    assert ": store: 0 imported, 1 skipped, 1 invalid" in again.stdout


def test_a_store_needs_a_root(host: Host) -> None:
    """Without a root its records belong nowhere: one line asks for it, and --as names it."""
    path = store(host.base / "db.duckdb", ("dispatch_history", "core/go-io/task-5", RECORD))
    (refused,) = take(host, path, code=1)
    assert "name it with --as" in refused["error"]
    result = run(["--history", str(other(host)), "import", "--as", "agents", str(path)], host.base)
    assert result.returncode == 0
    (row,) = host.query("SELECT root FROM dispatch_history", history=other(host))
    assert row["root"] == "agents"


def test_a_commit_of_the_store_is_not_made_again_by_its_workspace(host: Host) -> None:
    """A workspace that still lies on disk has the identity that was imported: its row is found, not doubled."""
    workspace = make(host.root, "core/go-io/task-5", updated_at=RECORD["updated_at"], runs=1)
    path = store(host.base / "db.duckdb", ("dispatch_history", workspace.name, RECORD))
    run([*host.arguments(), "import", str(path)], host.base)
    assert host.once().code == 0
    assert host.rows()[workspace.name]["committed_at"] == RECORD["committed_at"]
    assert workspace.line()["committed_at"] == RECORD["committed_at"]


def test_a_reader_that_leaves_ends_an_export_quietly(full: Host) -> None:
    """`| head` is no error to talk about."""
    with subprocess.Popen(
        command([*full.arguments(), "export"]),
        env=environment(full.base),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read().decode()
    assert "Traceback" not in said


def test_a_full_disk_behind_an_export_is_one_line(full: Host) -> None:
    """Where stdout takes no more, the export ends with 1 and says so once."""
    with open("/dev/full", "wb") as nowhere:
        result = subprocess.run(
            command([*full.arguments(), "export"]),
            env=environment(full.base),
            stdout=nowhere,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (result.returncode, result.stderr.count(b"\n")) == (1, 1)
    assert b"No space left on device" in result.stderr


def test_an_interrupted_import_keeps_what_it_did(full: Host) -> None:
    """Ctrl-C ends it with 130 and one line; what was imported is there, and the next run adds the rest."""
    lines = run([*full.arguments(), "export"], full.base).stdout.encode()
    with subprocess.Popen(
        command(["--history", str(other(full)), "import", "-"]),
        env=environment(full.base),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stderr is not None
        many = [json.loads(lines.splitlines()[0]) | {"runs": number} for number in range(1000)]
        process.stdin.write("".join(json.dumps(line) + "\n" for line in many).encode())
        process.stdin.flush()
        _wait_for_rows(full, other(full))
        process.send_signal(signal.SIGINT)
        said = process.stderr.read().decode()
        assert process.wait(60) == 130
    assert said.count("\n") == 1
    assert "interrupted: imported " in said


@pytest.fixture
def large(full: Host) -> Path:
    """An export of more than 8 MiB: 1,600 commits, each with a secret, one of them no record."""
    (line, *_) = run([*full.arguments(), "export"], full.base).stdout.splitlines()
    text = "password at https://user:hunter22@example.org/ " + 5_000 * "x"
    lines = [json.dumps(json.loads(line) | {"runs": number, "task": text}) for number in range(1_600)]
    path = full.base / "large.jsonl"
    path.write_text("\n".join([*lines[:1_200], "{}", *lines[1_200:]]))
    return path


def test_a_large_file_is_read_as_a_small_one(full: Host, large: Path) -> None:
    """All of its commits are imported, once and without secrets, and what is none is named with its line."""
    for imported, skipped in ((1_600, 0), (0, 1_600)):
        (found,) = take(full, large, code=1)
        assert (found["kind"], found["read_count"], found["invalid_count"]) == ("export", 1_601, 1)
        assert (found["imported_count"], found["skipped_count"]) == (imported, skipped)
        assert "line 1201" in found["failures"][0]["error"]
    with closing(sqlite3.connect(other(full))) as connection:
        (task,) = connection.execute("SELECT DISTINCT substr(task, 1, 50) FROM dispatch_history").fetchone()
    assert "hunter22" not in task


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_large_import_that_is_ended_is_finished_by_the_next(full: Host, large: Path, number: signal.Signals) -> None:
    """What was imported stays, nobody goes on reading, and the next run adds the rest."""
    process = start(["--history", str(other(full)), "import", str(large)], full.base)
    _wait_for_rows(full, other(full))
    process.send_signal(number)
    process.communicate(timeout=60)
    wait_for(lambda: str(large).encode() not in b"".join(_command_lines()))
    (found,) = take(full, large, code=1)
    assert found["imported_count"] + found["skipped_count"] == 1_600


def _command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


def _wait_for_rows(host: Host, history: Path) -> None:
    def some() -> bool:
        try:
            return bool(host.query("SELECT 1 FROM dispatch_history LIMIT 1", history=history))
        except sqlite3.OperationalError:
            return False

    wait_for(some)


def test_imported_from_a_copy_without_a_root(full: Host, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A copied history is exported where no root is configured, and no file is made beside it."""
    directory = tmp_path_factory.mktemp("copy")
    shutil.copy(full.history, directory / "copy.db")
    result = run(["--history", str(directory / "copy.db"), "export"], full.base)
    assert len(result.stdout.splitlines()) == 3
    assert [path.name for path in directory.iterdir()] == ["copy.db"]


def test_a_history_whose_tables_are_in_its_log_still_is_imported(full: Host, tmp_path: Path) -> None:
    """Beside the daemon that made it, or after it was killed."""
    path = tmp_path / "young.db"
    with closing(History(str(path))) as history:
        history.open()
        history.insert([row("o/r/young", task="walrus")])
        with closing(connect_untouched(str(path))) as file:
            assert file.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        (found,) = take(full, path)
    assert (found["error"], found["imported_count"]) == (None, 1)
