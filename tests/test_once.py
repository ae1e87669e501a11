"""`--once` as a real process: over the fixture trees, again, after losses, beside others, and with failures."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support import (
    CAP_CHOWN,
    POWERLESS,
    Host,
    Once,
    Workspace,
    finished,
    give_away,
    held_lock,
    make,
    run,
    run_together,
    snapshot,
    start,
    status_of,
    wait_for,
    workspaces,
    write_locked,
    write_marker,
)

from agentic_watch import backfill
from agentic_watch.history.store import History
from agentic_watch.sweep import sweep
from agentic_watch.workspace.instant import parse

TREES = ("root", "meta", "committed")


def expected(root: Path) -> dict[str, tuple[str, int]]:
    """(updated_at, runs) of each workspace that has to be committed, by name."""
    statuses = {workspace.name: status_of(workspace) for workspace in finished(root)}
    return {name: (status["updated_at"], status.get("runs", 0)) for name, status in statuses.items()}


def assert_committed(host: Host, history: Path | None = None) -> None:
    """Each finished workspace has one line, one row and the marker, which agree; no other workspace has any."""
    wanted = expected(host.root)
    rows = host.rows(history)
    assert rows.keys() == wanted.keys()
    for workspace in workspaces(host.root):
        if workspace.name not in wanted:
            assert not workspace.journal.exists()
            assert not workspace.marker.exists()
            continue
        line, mark, row = workspace.line(), workspace.mark(), rows[workspace.name]
        updated_at, runs = wanted[workspace.name]
        assert (line["workspace"], line["updated_at"], line["runs"]) == (workspace.name, updated_at, runs)
        assert mark == {key: line[key] for key in ("workspace", "updated_at", "runs", "committed_at")}
        assert (row["updated_at"], row["runs"], row["committed_at"]) == (updated_at, runs, line["committed_at"])
        assert row["updated_utc"] == parse(updated_at).utc()
        assert not [path.name for path in workspace.meta.iterdir() if path.name.endswith(".tmp")]


@pytest.mark.parametrize("tree", TREES)
def test_each_finished_workspace_is_committed_once(tmp_path: Path, tree: str) -> None:
    """Every finished workspace of a fixture tree gets one journal line, one row and its marker."""
    host = Host.make(tmp_path, tree)
    already = sum(workspace.marker.exists() for workspace in workspaces(host.root))
    result = host.once()
    assert (result.code, result.stderr) == (0, "")
    assert_committed(host)
    everything, done = len(workspaces(host.root)), len(expected(host.root))
    assert result.counts == {
        key: count
        for key, count in {
            "scanned": everything,
            "committed": done - already,
            "skipped": already,
            "unfinished": everything - done,
            "recovered_rows": already,
        }.items()
        if count
    }


@pytest.mark.parametrize("tree", TREES)
def test_a_second_run_changes_no_byte(tmp_path: Path, tree: str) -> None:
    """A second run skips everything that is done and touches neither content nor mtime of any file."""
    host = Host.make(tmp_path, tree)
    host.once()
    before, rows = snapshot(host.root), host.rows()
    result = host.once()
    done = len(expected(host.root))
    assert (result.code, result.counts["skipped"], result.counts.get("committed", 0)) == (0, done, 0)
    assert snapshot(host.root) == before
    assert host.rows() == rows


def test_what_the_original_committed_is_skipped_and_recovered(tmp_path: Path) -> None:
    """Workspaces that the original committed keep every byte; their rows carry its committed_at."""
    host = Host.make(tmp_path, "committed")
    theirs = [workspace for workspace in workspaces(host.root) if workspace.marker.exists()]
    assert theirs
    before = {workspace.name: snapshot(workspace.path) for workspace in theirs}
    committed_at = {workspace.name: workspace.line()["committed_at"] for workspace in theirs}
    result = host.once()
    assert (result.counts["skipped"], result.counts["recovered_rows"]) == (len(theirs), len(theirs))
    assert {workspace.name: snapshot(workspace.path) for workspace in theirs} == before
    rows = host.rows()
    assert {name: rows[name]["committed_at"] for name in committed_at} == committed_at


def test_a_deleted_history_is_rebuilt_from_the_journals(tmp_path: Path) -> None:
    """After the loss of the history the next run makes the same rows, with the same committed_at."""
    host = Host.make(tmp_path, "meta")
    host.once()
    rows, before = host.rows(), snapshot(host.root)
    host.forget_history()
    result = host.once()
    assert (result.code, result.counts["recovered_rows"]) == (0, len(rows))
    again = host.rows()
    assert {name: tuple(row)[1:] for name, row in again.items()} == {name: tuple(row)[1:] for name, row in rows.items()}
    assert snapshot(host.root) == before


def test_a_deleted_marker_is_restored_without_a_second_line(tmp_path: Path) -> None:
    """A workspace without its marker gets the same marker again, and no line and no row more."""
    host = Host.make(tmp_path, "meta")
    host.once()
    victim = finished(host.root)[0]
    journal, marker = victim.journal.read_bytes(), victim.marker.read_bytes()
    victim.marker.unlink()
    assert host.once().counts["committed"] == 1
    assert (victim.journal.read_bytes(), victim.marker.read_bytes()) == (journal, marker)
    assert_committed(host)


def test_a_deleted_journal_beside_marker_and_row_is_left_alone(tmp_path: Path) -> None:
    """Marker and row vouch for the commit: a journal that was deleted is no second dispatch."""
    host = Host.make(tmp_path, "meta")
    host.once()
    victim = finished(host.root)[0]
    victim.journal.unlink()
    result = host.once()
    assert (result.code, result.counts.get("committed", 0)) == (0, 0)
    assert len(host.rows()) == len(expected(host.root))


def test_a_deleted_journal_and_marker_come_back_with_the_rows_time(tmp_path: Path) -> None:
    """With only the row left, line and marker are written again with the committed_at of the row."""
    host = Host.make(tmp_path)
    workspace = make(host.root)
    host.once()
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("UPDATE dispatch_history SET committed_at = '2020-02-02T02:02:02Z'")
    workspace.journal.unlink()
    workspace.marker.unlink()
    assert host.once().counts == {"scanned": 1, "committed": 1}
    assert workspace.line()["committed_at"] == workspace.mark()["committed_at"] == "2020-02-02T02:02:02Z"
    assert host.rows()[workspace.name]["committed_at"] == "2020-02-02T02:02:02Z"


def test_a_run_killed_after_the_line_is_completed(tmp_path: Path) -> None:
    """A line without row and marker is completed with the line's committed_at, and not written twice."""
    host = Host.make(tmp_path)
    workspace = make(host.root, updated_at="2026-01-02T03:04:05Z", runs=2)
    host.once()
    line = workspace.journal.read_bytes().replace(workspace.line()["committed_at"].encode(), b"2026-01-02T03:04:06Z")
    workspace.journal.write_bytes(line)
    workspace.marker.unlink()
    host.forget_history()
    result = host.once()
    assert result.counts == {"scanned": 1, "committed": 1, "recovered_rows": 1}
    assert workspace.journal.read_bytes() == line
    assert workspace.mark()["committed_at"] == "2026-01-02T03:04:06Z"
    assert host.rows()[workspace.name]["committed_at"] == "2026-01-02T03:04:06Z"


def test_a_run_killed_before_the_rename_leaves_no_temporary_file(host: Host) -> None:
    """The temporary marker of a killed run is gone after the next commit of its workspace."""
    workspace = make(host.root)
    (workspace.meta / ".commit.json.0123456789abcdef.tmp").write_bytes(b"{")
    host.once()
    assert sorted(path.name for path in workspace.meta.iterdir()) == ["commit.json", "journal.jsonl", "status.json"]


def test_the_original_may_commit_between_two_runs(host: Host) -> None:
    """A line and a marker that the original adds later are recovered by the next run."""
    workspace = make(host.root)
    host.once()
    later = "2026-04-15T00:00:00Z"
    workspace.write_status(updated_at=later, runs=1)
    line = {**workspace.line(), "updated_at": later, "runs": 1, "committed_at": "2026-04-15T00:00:09Z"}
    with workspace.journal.open("a") as journal:
        journal.write(json.dumps(line) + "\n")
    write_marker(workspace, later, 1, committed_at=line["committed_at"])
    assert host.once().counts == {"scanned": 1, "skipped": 1, "recovered_rows": 1}
    assert [tuple(row) for row in host.query("SELECT runs, committed_at FROM dispatch_history WHERE runs = 1")] == [
        (1, "2026-04-15T00:00:09Z")
    ]


# --- the summary and the failures


def test_the_summary_has_exactly_its_keys(host: Host) -> None:
    """The --json document has the contract's keys, and each failure the three of its own."""
    make(host.root)
    broken = make(host.root, "org/repo/broken")
    (broken.meta / "status.json").write_text("{")
    result = host.once()
    keys = ["scanned", "committed", "skipped", "unfinished", "failed", "recovered_rows", "seconds", "failures"]
    assert list(result.summary) == keys
    assert [list(failure) for failure in result.summary["failures"]] == [["root", "workspace", "error"]]
    assert result.summary["failures"][0]["root"] == str(host.root)
    assert result.summary["seconds"] >= 0


def failed_lines(host: Host, *, lacking: Sequence[int] = ()) -> tuple[int, list[str]]:
    """The exit status of a plain run, and its lines on stderr."""
    result = run([*host.arguments(), "--once"], host.base, lacking=lacking)
    return result.returncode, result.stderr.splitlines()


BROKEN = {
    "torn": b'{"status":"completed","upd',
    "empty": b"",
    "not an object": b"[]",
    "no status": b'{"updated_at":"2026-04-14T11:17:08Z"}',
    "no updated_at": b'{"status":"completed"}',
    "not a time": b'{"status":"completed","updated_at":"yesterday"}',
    "runs is text": b'{"status":"completed","updated_at":"2026-04-14T11:17:08Z","runs":"1"}',
    "runs too large": b'{"status":"completed","updated_at":"2026-04-14T11:17:08Z","runs":9223372036854775808}',
    "NaN": b'{"status":"completed","updated_at":"2026-04-14T11:17:08Z","x":NaN}',
    "not UTF-8": b'{"status":"completed","task":"\xff"}',
    "NUL tail": b'{"status":"completed","updated_at":"2026-04-14T11:17:08Z"}\0\0\0',
    "lone surrogate": rb'{"status":"completed","updated_at":"2026-04-14T11:17:08Z","task":"\ud800"}',
    "deep": b'{"status":"completed","updated_at":"2026-04-14T11:17:08Z","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "huge integer": b'{"status":"completed","updated_at":"2026-04-14T11:17:08Z","x":' + b"9" * 10_000 + b"}",
    "over the limit": b'{"status":"completed","x":"' + b"x" * (1 << 20) + b'"}',
}


def test_each_broken_status_is_one_clean_line_and_stops_no_other(host: Host) -> None:
    """Every kind of broken status is named with its path and cause, exit 1, and the sound ones are committed."""
    for name, content in BROKEN.items():
        (make(host.root, f"org/bad/{name}").meta / "status.json").write_bytes(content)
    sound = [make(host.root, f"org/good/{number}") for number in range(3)]
    code, lines = failed_lines(host)
    assert code == 1
    assert len(lines) == len(BROKEN)
    for name in BROKEN:
        (line,) = [line for line in lines if f"{host.root}/org/bad/{name}:" in line]
        cause = line.partition(f"{name}: ")[2]
        assert cause.startswith(".meta/status.json: ")
        assert len(cause) < 200
        assert line.isprintable()
    assert all(workspace.marker.exists() for workspace in sound)
    assert not any((host.root / "org/bad" / name / ".meta/journal.jsonl").exists() for name in BROKEN)


def test_a_failing_workspace_is_tried_again_and_heals(host: Host) -> None:
    """A workspace that failed is read again by the next run, even when nothing about it looks changed."""
    workspace = make(host.root)
    workspace.journal.mkdir()
    assert host.once().counts == {"scanned": 1, "failed": 1}
    second = host.once()
    assert (second.code, list(second.failures)) == (1, [workspace.name])
    (row,) = host.query("SELECT fail_count, last_error, committed FROM workspaces")
    assert (row["fail_count"], row["committed"]) == (2, 0)
    assert "journal.jsonl" in row["last_error"]
    workspace.journal.rmdir()
    assert host.once().counts == {"scanned": 1, "committed": 1}
    (row,) = host.query("SELECT fail_count, last_error, committed FROM workspaces")
    assert tuple(row) == (0, None, 1)


def test_an_unreadable_directory_is_named_and_stops_no_other(tmp_path: Path) -> None:
    """Without permission for a directory or a status file, each is one line, exit 1; the rest is committed."""
    host = Host.make(tmp_path)
    sound = make(host.root, "org/repo/sound")
    closed = make(host.root, "org/closed/task")
    secret = make(host.root, "org/repo/secret")
    (secret.meta / "status.json").chmod(0)
    closed.path.parent.chmod(0)
    code, lines = failed_lines(host, lacking=POWERLESS)
    assert code == 1
    assert sorted(lines) == [
        f"failed: {host.root}/org/closed: cannot be looked into: Permission denied",
        f"failed: {host.root}/org/repo/secret: .meta/status.json: Permission denied",
    ]
    assert sound.marker.exists()


def test_a_read_only_workspace_is_named_and_stops_no_other(tmp_path: Path) -> None:
    """Where `.meta` cannot be written the commit fails by name, and nothing half-done is left."""
    host = Host.make(tmp_path)
    sound, closed = make(host.root, "org/repo/a"), make(host.root, "org/repo/b")
    closed.meta.chmod(0o555)
    code, lines = failed_lines(host, lacking=POWERLESS)
    assert (code, len(lines)) == (1, 1)
    assert f"{host.root}/org/repo/b: .meta/journal.jsonl" in lines[0]
    assert "Permission denied" in lines[0]
    assert sound.marker.exists()
    assert sorted(path.name for path in closed.meta.iterdir()) == ["status.json"]


def test_a_workspace_that_vanishes_after_the_scan_is_named(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workspace removed between scan and commit is named, and costs the others nothing."""
    names = [f"org/repo/{number}" for number in range(4)]
    for name in names:
        make(host.root, name)

    def sweep_and_remove(*args: Any, **options: Any) -> Iterator[Any]:
        yield from sweep(*args, **options)
        shutil.rmtree(host.root / names[1])

    monkeypatch.setattr(backfill, "sweep", sweep_and_remove)
    with contextlib.closing(History(str(host.history))) as history:
        summary = backfill.Backfill(host.config(), history, lambda _: None, lambda _: None).run()
    assert summary.committed == 3
    (failure,) = summary.failures
    assert (failure.root, failure.workspace) == (str(host.root), names[1])
    assert "is not there" in failure.error
    assert host.rows().keys() == set(names) - {names[1]}


def test_a_missing_root_is_named_and_the_others_are_committed(tmp_path: Path) -> None:
    """A root that is not there is one line with path, cause and next step; other roots are worked on."""
    host = Host.make(tmp_path)
    workspace = make(host.root)
    result = run(["--root", str(tmp_path / "gone"), *host.arguments(), "--once"], tmp_path)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert str(tmp_path / "gone") in line
    assert "No such file or directory" in line
    assert "configuration" in line
    assert workspace.marker.exists()


def test_the_rows_of_a_missing_root_stay(tmp_path: Path) -> None:
    """An unmounted root loses neither its history nor its place in the index."""
    host = Host.make(tmp_path)
    make(host.root)
    host.once()
    host.root.rename(tmp_path / "unmounted")
    assert host.once().code == 1
    assert len(host.rows()) == len(host.query("SELECT * FROM workspaces")) == 1


def test_a_vanished_workspace_leaves_the_index_and_stays_in_the_history(host: Host) -> None:
    """What is no longer on disk leaves `workspaces`; the history keeps its dispatch."""
    gone, kept = make(host.root, "a/b/gone"), make(host.root, "a/b/kept")
    host.once()
    shutil.rmtree(gone.path)
    assert host.once().counts == {"scanned": 1, "skipped": 1}
    assert [row["workspace"] for row in host.query("SELECT workspace FROM workspaces")] == [kept.name]
    assert host.rows().keys() == {gone.name, kept.name}


def test_a_dry_run_says_what_would_be_and_changes_nothing(tmp_path: Path) -> None:
    """--dry-run counts as a real run would, names what it would commit, and leaves tree and history alone."""
    host = Host.make(tmp_path, "committed")
    for layout in ("meta", "root"):
        make(host.root, f"new/repo/{layout}", layout)
    before = snapshot(tmp_path)
    dry = host.once("--dry-run", "-v")
    assert snapshot(tmp_path) == before
    assert not host.history.exists()
    real = host.once("-v")
    assert dry.counts == real.counts
    assert dry.stderr.count("would be committed") == real.stderr.count("committed") == 2


# --- several at a time


@pytest.mark.parametrize("shared", [False, True], ids=["four histories", "one history"])
def test_four_processes_at_a_time_commit_each_workspace_once(tmp_path: Path, shared: bool) -> None:
    """Four runs on one tree leave one line and one marker each, and every history has every row."""
    host = Host.make(tmp_path, "meta")
    for number in range(60):
        make(host.root, f"more/repo/task-{number}", "root" if number % 2 else "meta", report={"findings": [{}]})
    histories = [host.history if shared else tmp_path / f"state-{n}" / "history.db" for n in range(4)]
    results = run_together([[*host.arguments(path), "--once", "--json"] for path in histories], tmp_path)
    assert [(result.returncode, result.stderr) for result in results] == [(0, "")] * 4
    done = len(expected(host.root))
    summaries = [json.loads(result.stdout) for result in results]
    assert sum(summary["committed"] for summary in summaries) == done
    assert all(summary["committed"] + summary["skipped"] == done for summary in summaries)
    for path in histories:
        assert_committed(host, path)
    findings = host.query(
        "SELECT count(*) FROM findings JOIN dispatch_history h ON h.id = dispatch_id "
        "WHERE h.org = '' OR h.workspace LIKE 'more/%'",
        history=histories[0],
    )
    assert findings[0][0] == 60


def test_a_workspace_that_somebody_holds_is_done_when_it_is_free(host: Host) -> None:
    """While another program has a workspace's lock the others are committed; it follows in the same run."""
    held, free = make(host.root, "a/b/held"), make(host.root, "a/b/free")
    with held_lock(held.meta):
        process = start([*host.arguments(), "--once"], host.base)
        wait_for(free.marker.exists)
        assert not held.journal.exists()
    _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (0, "")
    assert host.rows().keys() == {held.name, free.name}


# --- hostile and odd names

ODD = ["-dash", "--help", "n" * 255, "'; DROP TABLE dispatch_history; --", "a b", "✓ Ünïcode", "%s%n", "..."]
HOSTILE = [b"new\nline", b"esc\x1b[31mred", b"bell\a", b"\xff\xfe", b"tab\t", "‮rtl".encode()]


def test_odd_names_are_names(host: Host) -> None:
    """A dash, 255 bytes, SQL and other scripts in a name are committed under exactly that name."""
    names = {make(host.root, f"org/repo/{name}").name for name in ODD}
    result = host.once()
    assert (result.code, result.stderr) == (0, "")
    assert host.rows().keys() == names
    assert {Workspace(host.root, name).line()["workspace"] for name in names} == names


@pytest.mark.parametrize("option", ["--json", "-v", "--dry-run"])
def test_hostile_names_are_one_clean_line_each(host: Host, option: str) -> None:
    """A name with controls or without UTF-8 fails by itself, in one line without control characters."""
    for name in HOSTILE:
        path = os.fsencode(host.root / "org/repo") + b"/" + name + b"/.meta"
        os.makedirs(path)
        with open(path + b"/status.json", "w") as status:
            status.write('{"status":"completed","updated_at":"2026-04-14T11:17:08Z"}')
    sound = make(host.root, "org/repo/sound")
    result = run([*host.arguments(), "--once", option], host.base)
    failures = (
        [failure["error"] for failure in json.loads(result.stdout)["failures"]]
        if option == "--json"
        else [line for line in result.stderr.splitlines() if line.startswith("failed:")]
    )
    assert (result.returncode, len(failures)) == (1, len(HOSTILE))
    assert all(line.isprintable() for line in (result.stdout + result.stderr).splitlines())
    assert sound.marker.exists() == (option != "--dry-run")


def test_an_unreadable_directory_with_a_hostile_name_is_one_clean_line(tmp_path: Path) -> None:
    """A directory that cannot be listed is named cleanly even when its name is no text."""
    host = Host.make(tmp_path)
    path = os.fsencode(host.root) + b"/bad\n\xff"
    os.mkdir(path)
    os.chmod(path, 0)
    for options in (["--once"], ["--once", "--json"]):
        result = run([*host.arguments(), *options], host.base, lacking=POWERLESS)
        assert result.returncode == 1
        assert "bad\\n\\udcff" in result.stderr + result.stdout.replace("\\\\", "\\")
        assert all(line.isprintable() for line in result.stderr.splitlines())


# --- the history is not there


def assert_without_rows(result: Once, workspace: Workspace, history: Path) -> None:
    """Line and marker are there, and the failure of the history is named once, with exit status 1."""
    assert len(workspace.lines()) == 1
    assert workspace.mark()["committed_at"] == workspace.line()["committed_at"]
    assert result.code == 1
    (failure,) = result.summary["failures"]
    assert (failure["root"], failure["workspace"]) == ("", "")
    assert str(history) in failure["error"]
    assert "next run" in failure["error"]


def test_a_history_that_is_a_directory_stops_no_commit(host: Host) -> None:
    """Line and marker are written, exit 1 names the history, and its rows come with the next run."""
    workspace = make(host.root)
    host.history.mkdir(parents=True)
    assert_without_rows(host.once(), workspace, host.history)
    host.history.rmdir()
    before = snapshot(host.root)
    assert host.once().counts == {"scanned": 1, "skipped": 1, "recovered_rows": 1}
    assert snapshot(host.root) == before
    assert host.rows()[workspace.name]["committed_at"] == workspace.line()["committed_at"]


def test_a_locked_history_stops_no_commit(host: Host) -> None:
    """While another program holds the write lock lines and markers are written; the rows come later."""
    host.once()
    held = [make(host.root, f"a/b/{number}") for number in range(3)]
    with write_locked(host.history):
        result = host.once()
        for workspace in held:
            assert_without_rows(result, workspace, host.history)
        assert result.counts["committed"] == 3
    assert host.once().counts == {"scanned": 3, "skipped": 3, "recovered_rows": 3}
    assert {name: row["committed_at"] for name, row in host.rows().items()} == {
        workspace.name: workspace.line()["committed_at"] for workspace in held
    }


@pytest.mark.parametrize("existing", [False, True], ids=["cannot be made", "cannot be written"])
def test_an_unwritable_history_stops_no_commit(tmp_path: Path, existing: bool) -> None:
    """Where the history may not be made or written, lines and markers are, and the rows come later."""
    host = Host.make(tmp_path)
    host.history.parent.mkdir()
    if existing:
        host.once()
    workspace = make(host.root)
    host.history.parent.chmod(0o555)
    if existing:
        host.history.chmod(0o444)
    assert_without_rows(host.once(lacking=POWERLESS), workspace, host.history)
    host.history.parent.chmod(0o755)
    if existing:
        host.history.chmod(0o644)
    result = host.once(lacking=POWERLESS)
    assert (result.code, result.counts["recovered_rows"]) == (0, 1)


def test_a_corrupt_history_is_moved_aside_and_rebuilt(tmp_path: Path) -> None:
    """A history that is no database is kept under another name, said so, and rebuilt from the journals."""
    host = Host.make(tmp_path, "meta")
    host.once()
    rows = host.rows()
    host.forget_history()
    host.history.write_bytes(b"this is no database, however long one looks at it" * 100)
    content = host.history.read_bytes()
    result = host.once()
    (aside,) = host.history.parent.glob("history.db.corrupt-*")
    assert aside.read_bytes() == content
    assert aside.name in result.stderr
    assert {n: r["committed_at"] for n, r in host.rows().items()} == {n: r["committed_at"] for n, r in rows.items()}
    assert (result.code, result.summary["failures"]) == (0, [])
    assert host.once().code == 0


def test_a_history_with_a_torn_page_is_moved_aside_and_rebuilt(tmp_path: Path) -> None:
    """Damage in the middle of the file, found while it is read, ends in a whole history too."""
    host = Host.make(tmp_path, "meta")
    host.once()
    rows = host.rows()
    with host.history.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * (host.history.stat().st_size - 4096))
    host.once()
    host.once()
    assert list(host.history.parent.glob("history.db.corrupt-*"))
    assert {n: r["committed_at"] for n, r in host.rows().items()} == {n: r["committed_at"] for n, r in rows.items()}


def test_a_corrupt_history_that_cannot_be_moved_stops_no_commit(tmp_path: Path) -> None:
    """A corrupt history in a directory that may not be written is named; lines and markers are written."""
    host = Host.make(tmp_path)
    workspace = make(host.root)
    host.history.parent.mkdir()
    host.history.write_bytes(b"no database" * 1000)
    host.history.parent.chmod(0o555)
    assert_without_rows(host.once(lacking=POWERLESS), workspace, host.history)


def test_a_newer_history_is_refused_and_not_touched(host: Host) -> None:
    """A schema that this program does not know ends it with 78 and a next step, before anything is written."""
    workspace = make(host.root)
    host.history.parent.mkdir()
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("CREATE TABLE later (x)")
    before = host.history.read_bytes()
    for options in ([], ["--dry-run"]):
        result = run([*host.arguments(), "--once", *options], host.base)
        assert result.returncode == 78
        (line,) = result.stderr.splitlines()
        assert str(host.history) in line
        assert "schema version 99" in line
        assert "upgrade" in line
    assert host.history.read_bytes() == before
    assert not workspace.journal.exists()


# --- as root, without all of root's power


@pytest.mark.parametrize("lacking", [(), (CAP_CHOWN,)], ids=["root", "root without CAP_CHOWN"])
def test_root_gives_new_files_to_the_owner_of_meta(host: Host, lacking: tuple[int, ...]) -> None:
    """As root the new files belong to `.meta`'s owner; where that is not permitted the workspaces fail by name."""
    made = [make(host.root, "a/b/meta"), make(host.root, "a/b/root", "root")]
    give_away(host.root)
    result = host.once(lacking=lacking)
    new = [path for workspace in made for path in workspace.meta.rglob("*") if path.name != "status.json"]
    if lacking and os.getuid() == 0:
        assert (result.code, sorted(result.failures)) == (1, ["a/b/meta", "a/b/root"])
        assert new == []
        return
    assert result.code == 0
    assert {path.name for path in new} == {"journal.jsonl", "commit.json"}
    assert {path.stat().st_uid for path in [*new, made[1].meta]} == {host.root.stat().st_uid}
    assert {stat.S_IMODE(path.stat().st_mode) for path in new} == {0o644}
    assert stat.S_IMODE(made[1].meta.stat().st_mode) == 0o755
