"""`agentic-watch history`: what it finds, how it prints it, and who may read it in which state of the files."""

import contextlib
import csv
import io
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import Host, make, run, snapshot
from unprivileged import public_directory, run_as_nobody

from agentic_watch.answers.past.dispatch_list import dispatches, statement
from agentic_watch.answers.past.filters import Filter
from agentic_watch.answers.past.sql_dialects import SqliteSource, match_expression, search_words
from agentic_watch.cli.value_texts import human_duration
from agentic_watch.history import HistoryError, history_file, opening
from agentic_watch.history.opening import reading

NOTHING = "nothing matches; the history holds 5 commits, from 2026-04-01T10:00:00Z to 2026-04-04T00:00:00Z\n"


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Host:
    """Four dispatches in the history, `d` the newest; `a` was committed twice. Not to be changed."""
    host = Host.make(tmp_path_factory.mktemp("listed"))
    a = make(
        host.root,
        "acme/site/a",
        task="Fix the login page",
        repo="site",
        org="acme",
        agent="codex:gpt-5",
        started_at="2026-04-01T09:00:00Z",
        updated_at="2026-04-01T10:00:00Z",
        status="blocked",
        question="Which database?",
    )
    make(
        host.root,
        "acme/api/b",
        task="Tidy\nand more",
        repo="api",
        org="acme",
        agent="codex",
        status="failed",
        updated_at="2026-04-02T10:00:00+02:00",
        report={"passed": True, "findings": [{"message": "SQL injection in search()"}]},
    )
    make(host.root, "other/api/c", repo="api", org="other", agent="codexter", updated_at="2026-04-03T00:00:00Z")
    make(
        host.root,
        "other/api/d",
        repo="api",
        org="other",
        agent="claude",
        updated_at="2026-04-04T00:00:00Z",
        task="x\x1b[31m" + "long " * 100,
    )
    assert host.once().counts["committed"] == 4
    a.write_status(
        started_at="2026-04-01T09:00:00Z",
        updated_at="2026-04-01T10:00:04Z",
        task="Fix the login page",
        repo="site",
        org="acme",
        agent="codex:gpt-5",
    )
    assert host.once().counts["committed"] == 1
    return host


@pytest.fixture
def own(listed: Host, tmp_path: Path) -> Host:
    """The same with a copy of the history, which may be changed."""
    return replace(listed, history=Path(shutil.copy(listed.history, tmp_path)))


def found(host: Host, *options: str) -> list[str]:
    """The last letters of the workspaces that `history --json` lists."""
    return [row["workspace"][-1] for row in rows(host, *options)]


def rows(host: Host, *options: str) -> list[dict[str, Any]]:
    result = run([*host.arguments(), "history", "--json", *options], host.base)
    assert result.returncode == 0
    cut = "-n" in options and options[-1] != "0"
    assert result.stderr.startswith(NOTHING if not result.stdout else "showing the newest " if cut else "")
    assert result.stdout == "" or cut or not result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "dcba"),
        (["-n", "2"], "dc"),
        (["-n", "0"], "dcba"),
        (["--repo", "api"], "dcb"),
        (["--org", "acme"], "ba"),
        (["--agent", "codex"], "ba"),
        (["--agent", "codex:gpt-5"], "a"),
        (["--status", "failed"], "b"),
        (["--status", "blocked"], ""),
        (["--status", "blocked", "--all"], "a"),
        (["--workspace", "acme/api/b"], "b"),
        (["--workspace", "acme/site/a", "--all"], "aa"),
        (["--since", "2026-04-03"], "dc"),
        (["--since", "2026-04-02T08:00:00Z", "--until", "2026-04-03T00:00:00Z"], "b"),
        (["--until", "2026-04-02"], "ba"),
        (["--since", "1m"], ""),
        (["--repo", "\udcff"], ""),
        (["--failed"], "b"),
        (["--failed", "--repo", "site"], ""),
        (["--status", "failed,completed", "--org", "acme"], "ba"),
        (["--repo", "site", "--repo", "api", "--agent", "claude", "--agent", "codex"], "dba"),
        (["--workspace", "acme/site/a", "--workspace", "acme/api/b"], "ba"),
        (["--host", "no-such-host"], ""),
        (["--committed-since", "1h"], "dcba"),
        (["--committed-since", "yesterday", "--since", "2026-04-03"], "dc"),
        (["--committed-since", "2999-01-01"], ""),
        (["login"], "a"),
        (["LOG"], "a"),
        (["fix", "log"], "a"),
        (["log fix"], ""),
        (["injection"], "b"),
        (["which data", "--all"], "a"),
        (["injection", "--repo", "site"], ""),
        (['log"in OR'], ""),
        (["login) NEAR("], ""),
        (["task:login"], ""),
        (["login *"], "a"),
    ],
)
def test_filters(listed: Host, options: list[str], expected: str) -> None:
    """Each filter lists what it names, newest first, and nothing in a search is FTS5 syntax."""
    assert "".join(found(listed, *options)) == expected


def test_json_has_all_columns_and_a_parsed_report(listed: Host) -> None:
    """A line of --json is the row of the history, its report as an object."""
    (row,) = rows(listed, "--workspace", "acme/api/b")
    (stored,) = listed.query("SELECT * FROM dispatch_history WHERE workspace = 'acme/api/b'")
    plain = {name: None if value == "" else value for name, value in dict(stored).items()}
    assert row == {"schema": 2, **plain, "issue": None, "passed": True, "report": json.loads(stored["report"])}
    assert row["report"]["findings"] == [{"message": "SQL injection in search()"}]


def test_table(listed: Host) -> None:
    """The table fits the terminal, is clean of control characters, and shows the first line of a task."""
    arguments = [*listed.arguments(), "history"]
    plain = run(arguments, listed.base).stdout.splitlines()
    assert [line.split()[0] for line in plain] == [
        "UPDATED",
        "2026-04-04T00:00:00Z",
        "2026-04-03T00:00:00Z",
        "2026-04-02T08:00:00Z",
        "2026-04-01T10:00:04Z",
    ]
    words_shown = plain[4].split()
    assert words_shown[1:7] == ["completed", "acme/site/a", "codex:gpt-5", "0", "1h00m", "0"]
    assert words_shown[7:] == ["Fix", "the", "login", "page"]
    assert plain[3].endswith("Tidy")
    assert "\\x1b[31mlong" in plain[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("support.environment", lambda base: {**os.environ, "COLUMNS": "110", "HOME": str(base)})
        narrow = run(arguments, listed.base).stdout.splitlines()
    assert max(map(len, narrow)) == 110
    assert narrow[1].endswith("…")


def test_nothing_matches(listed: Host) -> None:
    """An empty list is said on stderr, with how many commits there are and what may have been meant."""
    options = ["history", "--status", "faild", "--agent", "cladue", "--repo", "api", "--utc"]
    result = run([*listed.arguments(), *options], listed.base)
    meant = "did you mean --status failed?\ndid you mean --agent claude?\n"
    assert (result.returncode, result.stdout, result.stderr) == (0, "", NOTHING + meant)


def test_more_than_is_shown(listed: Host) -> None:
    """A list that was cut at its limit says so, on stderr."""
    result = run([*listed.arguments(), "history", "-n", "3"], listed.base)
    assert (len(result.stdout.splitlines()), result.stderr) == (4, "showing the newest 3; -n 0 shows all\n")
    assert run([*listed.arguments(), "history", "-n", "4"], listed.base).stderr == ""


def test_columns_and_csv(listed: Host) -> None:
    """The columns that were asked for, in their order, as a table, as JSON and as CSV; CSV has all without."""
    asked = [*listed.arguments(), "history", "--repo", "api", "--org", "acme", "--columns", "workspace,passed,task"]
    task = "Tidy\nand more"
    assert run(asked, listed.base).stdout == "WORKSPACE   PASSED  TASK\nacme/api/b  1       Tidy\n"
    (line,) = run([*asked, "--json"], listed.base).stdout.splitlines()
    assert json.loads(line) == {"schema": 2, "workspace": "acme/api/b", "passed": True, "task": task}
    assert list(csv.reader(io.StringIO(run([*asked, "--csv"], listed.base).stdout))) == [
        ["workspace", "passed", "task"],
        ["acme/api/b", "true", task],
    ]
    header, *lines = csv.reader(io.StringIO(run([*listed.arguments(), "history", "--csv"], listed.base).stdout))
    assert [dict(zip(header, one, strict=True))["workspace"][-1] for one in lines] == ["d", "c", "b", "a"]


def test_a_copied_history_is_read_without_a_root(own: Host) -> None:
    """Who has only the file lists it."""
    result = run(["--history", str(own.history), "history", "--columns", "workspace"], own.base)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.split()[1:] == ["other/api/d", "other/api/c", "acme/api/b", "acme/site/a"]


def test_two_roots_are_told_apart(own: Host, tmp_path: Path) -> None:
    """Where dispatches of several roots are own, the root is a column."""
    make(tmp_path / "second", "acme/site/a")
    both = [*own.arguments(), "--root", str(tmp_path / "second")]
    assert run([*both, "--once"], own.base).returncode == 0
    header, *lines = run([*both, "history"], own.base).stdout.splitlines()
    assert header.split()[3] == "ROOT"
    assert {line.split()[2] for line in lines} == {str(own.root), str(tmp_path / "second")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--since", "yesteryear"],
            "is not a span (90m, 12h, 7d, 2w, 6mo), today, yesterday, week, a date (2026",
        ),
        (["--until", "2026-02-30"], "or an RFC 3339 time"),
        (["--since", "999999999w"], "or an RFC 3339 time"),
        (["--json", "--csv"], "exclude each other"),
        (["--columns", "status,tsak"], "did you mean task?"),
        (["--columns", "nope"], "no column 'nope'; columns: id, root, workspace, repo, org, task, agent, model,"),
        (["--limit", "-1"], "not in the range"),
        (["!!"], "no letter and no digit"),
    ],
)
def test_usage_errors(host: Host, options: list[str], message: str) -> None:
    """What cannot be meant is a usage error that says what can."""
    result = run([*host.arguments(), "history", *options], host.base)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr


def test_no_history_yet(host: Host) -> None:
    """Before the first commit one line says so, with the next step, and nothing is made."""
    result = run([*host.arguments(), "history"], host.base)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == f"Error: no history at {host.history} yet; run agentic-watch --once to create it\n"
    assert not host.history.parent.exists()


def test_other_files_are_refused(host: Host) -> None:
    """A file that is no history is a matter of configuration, an empty one is none yet; the cause is named."""
    host.history.parent.mkdir()
    for content, code, cause in ((b"no database at all" * 100, 78, "no SQLite database"), (b"", 1, "not a history")):
        host.history.write_bytes(content)
        result = run([*host.arguments(), "history"], host.base)
        assert (result.returncode, result.stdout, result.stderr.count("\n")) == (code, "", 1)
        assert str(host.history) in result.stderr
        assert cause in result.stderr
        assert host.history.read_bytes() == content


def test_newer_history_is_refused(own: Host) -> None:
    """A history of a newer program is a matter of configuration: exit status 78."""
    with contextlib.closing(sqlite3.connect(own.history)) as connection:
        connection.execute("PRAGMA user_version = 99")
    assert run([*own.arguments(), "history"], own.base).returncode == 78


def test_durations() -> None:
    """A duration is written in its two largest units, a short one with a tenth, an unknown one not at all."""
    seconds = {0: "0.0s", 850: "0.8s", 9_999: "9.9s", 10_000: "10s", 59_999: "59s"}
    longer = {189_000: "3m09s", 7_500_000: "2h05m", 93_600_000: "1d02h"}
    for milliseconds, text in {None: "", **seconds, **longer}.items():
        assert human_duration(milliseconds) == text


def test_search_words_are_quoted() -> None:
    """What a user types is words, each quoted, the last one a prefix; what holds no letter or digit is no word."""
    assert search_words('a -- b" ___ ü9') == ["a", 'b"', "ü9"]
    assert match_expression('a -- b"') == '"a" "b""" *'


@pytest.mark.parametrize(
    ("wanted", "access"),
    [
        (Filter(), "SCAN d USING INDEX dispatch_history_newest"),
        (Filter(every=True), "SCAN d USING INDEX dispatch_history_newest"),
        (Filter(repo=("a",)), "SEARCH d USING INDEX dispatch_history_repo_newest (repo=?)"),
        (Filter(repo=("a",), org=("b",)), "SEARCH d USING INDEX dispatch_history_repo_newest (repo=?)"),
        (Filter(org=("b",)), "SCAN d USING INDEX dispatch_history_newest"),
        (Filter(status=("a",)), "SCAN d USING INDEX dispatch_history_newest"),
        (Filter(since="2026"), "SEARCH d USING INDEX dispatch_history_newest (updated_utc>?)"),
        (Filter(search="a"), "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
def test_an_index_answers(listed: Host, wanted: Filter, access: str) -> None:
    """The newest rows are walked in an index's order; no table is scanned, and nothing sorted but what a search finds
    and what one workspace has."""
    with reading(str(listed.history)) as connection:
        sql, values = statement(SqliteSource(connection), wanted, limit=20)
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert plan[0] == access
    assert not [step for step in plan[1:] if step.startswith("SCAN d")]
    assert ("USE TEMP B-TREE FOR ORDER BY" in plan) == bool(wanted.search)


def test_indexes_answer_for_one_workspace(listed: Host) -> None:
    """Its rows are found by the name that it had and by the one that it has; of those that were moved there are few."""
    with reading(str(listed.history)) as connection:
        sql, values = statement(SqliteSource(connection), Filter(workspace=("a",)), limit=20)
        plan = {row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)}
    by_name = "SEARCH d USING INDEX sqlite_autoindex_dispatch_history_1 (root=? AND workspace=?)"
    assert plan >= {by_name, "SCAN dispatch_history USING COVERING INDEX dispatch_history_moved"}
    assert [step for step in plan if step.startswith("SCAN d ")] == []


@pytest.mark.parametrize("wanted", [Filter(), Filter(repo=("site", "api")), Filter(status=("failed", "blocked"))])
def test_a_list_reads_no_more_than_it_shows(own: Host, wanted: Filter) -> None:
    """With many rows a list of the newest takes as many steps of SQLite's machine as with few."""
    steps = []
    for rows_more in (100, 5_000):
        with contextlib.closing(sqlite3.connect(own.history)) as connection:
            connection.execute(_MULTIPLY, {"rows": rows_more})
            connection.commit()
        with reading(str(own.history)) as connection:
            ticks: list[int] = []
            connection.set_progress_handler(lambda ticks=ticks: ticks.append(1), 10)
            assert len(list(dispatches(SqliteSource(connection), wanted, limit=20))) == 20
            connection.set_progress_handler(None, 0)
        steps.append(len(ticks))
    assert steps[1] < 1.5 * steps[0]


_COLUMNS = (
    "repo, org, task, agent, model, branch, status, question, issue, runs, process_id, pr_url, started_at, updated_at, "
    "committed_at, updated_utc, findings_count, host"
)
_MULTIPLY = f"""
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
INSERT INTO dispatch_history (root, workspace, {_COLUMNS})
SELECT root || :rows, workspace || i, {_COLUMNS} FROM n, (SELECT * FROM dispatch_history ORDER BY workspace LIMIT 1)"""


@pytest.fixture
def public() -> Iterator[Host]:
    """A history with one dispatch that others may read, in a directory that they may not write."""
    with public_directory() as directory:
        host = Host.make(directory)
        make(host.root, "org/repo/first")
        assert host.once().counts["committed"] == 1
        host.root.chmod(0o755)
        host.history.parent.chmod(0o755 if os.getuid() == 0 else 0o555)
        yield host


def files(host: Host) -> set[str]:
    return {path.name for path in host.history.parent.iterdir()}


def as_nobody(host: Host) -> list[str]:
    before = snapshot(host.history.parent)
    result = run_as_nobody([*host.arguments(), "history", "--json"], host.base)
    assert (result.returncode, result.stderr) == (0, "")
    assert snapshot(host.history.parent).keys() == before.keys()
    return [json.loads(line)["workspace"] for line in result.stdout.splitlines()]


def test_reading_without_a_writer(public: Host) -> None:
    """Who may only read lists a history that nobody has open, and nothing is made beside it."""
    assert files(public) == {"history.db"}
    assert as_nobody(public) == ["org/repo/first"]


def test_reading_as_the_owner_makes_nothing(public: Host) -> None:
    """Not even the owner's look at a history that nobody has open leaves a file."""
    before = snapshot(public.history.parent)
    assert [row["workspace"] for row in rows(public)] == ["org/repo/first"]
    assert snapshot(public.history.parent) == before


def test_reading_beside_a_writer(public: Host) -> None:
    """Who may only read sees what a running writer has committed, and not what it is about to."""
    public.history.parent.chmod(0o755)
    with contextlib.closing(sqlite3.connect(public.history, isolation_level=None)) as writer:
        writer.execute("UPDATE dispatch_history SET workspace = 'second'")
        assert files(public) == {"history.db", "history.db-wal", "history.db-shm"}
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE dispatch_history SET workspace = 'third'")
        assert as_nobody(public) == ["second"]
        writer.execute("ROLLBACK")


def test_reading_after_a_killed_writer(public: Host) -> None:
    """What a killed writer left in the -wal file is read, and without its -shm file the next step is named."""
    public.history.parent.chmod(0o755)
    with contextlib.closing(sqlite3.connect(public.history, isolation_level=None)) as writer:
        writer.execute("UPDATE dispatch_history SET workspace = 'second'")
        left = {name: (public.history.parent / name).read_bytes() for name in files(public)}
    for name, content in left.items():
        (public.history.parent / name).write_bytes(content)
    assert as_nobody(public) == ["second"]
    (public.history.parent / "history.db-shm").unlink()
    if os.getuid() == 0:
        result = run_as_nobody([*public.arguments(), "history"], public.base)
        assert (result.returncode, result.stdout) == (1, "")
        assert "run agentic-watch --once as their owner" in result.stderr
    assert [row["workspace"] for row in rows(public)] == ["second"]


def test_unreadable_history_is_named(public: Host) -> None:
    """Who may not read the history gets one line that names it, not an empty answer."""
    for path in (public.history, public.history.parent):
        path.chmod(0)
        result = run_as_nobody([*public.arguments(), "history"], public.base)
        path.chmod(0o755)
        assert (result.returncode, result.stdout) == (1, "")
        assert str(public.history) in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_symlink_to_a_history_beside_a_writer(public: Host, tmp_path: Path) -> None:
    """A history reached through a symlink is read with the -wal file that stands beside the file itself."""
    public.history.parent.chmod(0o755)
    link = tmp_path / "link.db"
    link.symlink_to(public.history)
    with contextlib.closing(sqlite3.connect(public.history, isolation_level=None)) as writer:
        writer.execute("UPDATE dispatch_history SET workspace = 'second'")
        with reading(str(link)) as connection:
            assert [row["workspace"] for row in dispatches(SqliteSource(connection), Filter())] == ["second"]


def test_writer_that_comes_while_a_resting_history_is_read(host: Host) -> None:
    """An answer from a file that a writer changed meanwhile is not passed off as good."""
    make(host.root)
    host.once()
    with pytest.raises(HistoryError, match="written to while it was read"), reading(str(host.history)) as connection:
        assert history_file.at_rest(str(host.history)) is not None
        assert len(list(dispatches(SqliteSource(connection), Filter()))) == 1
        make(host.root, "org/repo/second")
        host.once()
    assert len(rows(host)) == 2


def test_a_writer_that_only_opens_a_resting_history_spoils_no_answer(host: Host) -> None:
    """A daemon closes and opens it at each reconcile; what it commits then is in the -wal, the file is as it was."""
    make(host.root)
    host.once()
    with contextlib.ExitStack() as at_end:
        with reading(str(host.history)) as connection:
            writer = at_end.enter_context(contextlib.closing(sqlite3.connect(host.history, isolation_level=None)))
            writer.execute("UPDATE dispatch_history SET workspace = 'second'")
            assert [row["workspace"] for row in dispatches(SqliteSource(connection), Filter())] == ["org/repo/task"]
        with reading(str(host.history)) as connection:
            assert [row["workspace"] for row in dispatches(SqliteSource(connection), Filter())] == ["second"]


def test_a_writer_that_closes_while_the_history_is_opened_is_waited_for(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The -wal was there when it was looked for, and SQLite cannot open it any more."""
    make(host.root)
    host.once()
    log = Path(f"{host.history}-wal")
    log.mkdir()

    def pauses() -> Iterator[float]:
        log.rmdir()
        yield 0.0

    monkeypatch.setattr(opening, "_PAUSES", pauses())
    with reading(str(host.history)) as connection:
        assert len(list(dispatches(SqliteSource(connection), Filter()))) == 1


def test_every_row_streams_beside_a_writer_that_goes_on(host: Host) -> None:
    """A listing that has begun beside a writer ends with what was there when it began."""
    make(host.root)
    host.once()
    with contextlib.closing(sqlite3.connect(host.history, isolation_level=None)) as writer:
        writer.execute(_MULTIPLY, {"rows": 500})
        with reading(str(host.history)) as connection:
            listing = dispatches(SqliteSource(connection), Filter(every=True))
            next(listing)
            writer.execute("DELETE FROM dispatch_history")
            writer.execute("PRAGMA wal_checkpoint(PASSIVE)")
            assert len(list(listing)) == 500
    assert run([*host.arguments(), "history", "--json"], host.base).stdout == ""
