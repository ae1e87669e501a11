"""`--once` as a real process: over the fixture trees, again, after losses, beside others, and with failures."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest
from support import (
    Host,
    finished,
    held_lock,
    make,
    run_together,
    snapshot,
    start,
    status_of,
    wait_for,
    workspaces,
    write_marker,
)

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
    assert "committed" not in host.once().counts  # there is neither a new line nor a new row
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


def test_a_dry_run_asks_for_no_lock(host: Host) -> None:
    """What somebody holds, with a journal that may be in the middle of a write, is told of like any other, at once."""
    held = make(host.root)
    held.journal.write_text('{"torn')
    with held_lock(held.meta):
        before = snapshot(host.base)
        dry = host.once("--dry-run")
        assert snapshot(host.base) == before
    assert (dry.code, dry.counts) == (0, {"scanned": 1, "committed": 1})
    assert [one["workspace"] for one in dry.summary["would_commit"]] == [held.name]
    assert dry.summary["seconds"] < 5.0


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
