"""`prune`: old commits go into an archive and out of the history, whole and for good."""

import json
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import Host, Workspace, make, run, snapshot

FINDING = {"tool": "gosec", "code": "G304", "message": "oldfinding"}


@pytest.fixture
def mixed(host: Host) -> Host:
    """A host with an old commit that has a finding, and a new one."""
    make(host.root, "o/r/old", updated_at="2020-01-01T00:00:00Z", report={"findings": [FINDING]}, task="ancient")
    make(host.root, "o/r/new", updated_at="2026-11-01T00:00:00Z", report={"findings": [FINDING]})
    host.once()
    return host


def prune(host: Host, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    result = run([*host.arguments(), "prune", "--older-than", "520w", *options], host.base)
    assert result.returncode == code, result.stderr
    return result


def pruned(host: Host, *options: str) -> dict[str, Any]:
    arguments = [*host.arguments(), "prune", "--older-than", "60w", "--json", *options]
    found: dict[str, Any] = json.loads(run(arguments, host.base).stdout)
    return found


def names(host: Host) -> list[str]:
    return [row["workspace"] for row in host.query("SELECT workspace FROM dispatch_history ORDER BY id")]


def test_old_commits_go_with_all_that_hangs_on_them(mixed: Host) -> None:
    """Rows, findings and search entries of what is older are gone, those of the others are whole."""
    found = pruned(mixed)
    assert (found["schema"], found["commits_count"], found["findings_count"], found["dry_run"]) == (2, 1, 1, False)
    assert (found["first_utc"], found["last_utc"]) == ("2020-01-01T00:00:00.000000000Z",) * 2
    assert names(mixed) == ["o/r/new"]
    assert len(mixed.query("SELECT 1 FROM findings")) == 1
    for word, there in (("ancient", []), ("oldfinding", ["o/r/new"])):
        result = run([*mixed.arguments(), "history", "--json", word], mixed.base)
        assert [json.loads(line)["workspace"] for line in result.stdout.splitlines()] == there
    (about,) = mixed.query("SELECT pruned_before FROM about")
    assert about["pruned_before"] == found["before"]
    assert _is_whole(mixed.history)


def _is_whole(history: Path) -> bool:
    connection = sqlite3.connect(history)
    connection.execute("INSERT INTO dispatch_search (dispatch_search) VALUES ('integrity-check')")
    whole: str = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    return whole == "ok"


def test_what_went_is_in_the_archive_and_can_come_back(mixed: Host) -> None:
    """The archive is an export of exactly what went; importing it makes the same rows again."""
    before = {row["commit_id"]: row["report"] for row in mixed.query("SELECT commit_id, report FROM dispatch_history")}
    found = pruned(mixed)
    (line,) = Path(found["archive"]).read_text().splitlines()
    assert (json.loads(line)["workspace"], json.loads(line)["schema"]) == ("o/r/old", 1)
    assert found["archive"].startswith(f"{mixed.history}.pruned-")
    result = run([*mixed.arguments(), "import", found["archive"]], mixed.base)
    assert result.returncode == 0
    after = {row["commit_id"]: row["report"] for row in mixed.query("SELECT commit_id, report FROM dispatch_history")}
    assert after == before


def test_a_dry_run_changes_nothing(mixed: Host) -> None:
    """It says what would go, and makes no file."""
    before = snapshot(mixed.base)
    found = pruned(mixed, "--dry-run")
    assert (found["commits_count"], found["archive"], found["dry_run"]) == (1, None, True)
    assert snapshot(mixed.base) == before
    text = run([*mixed.arguments(), "prune", "--older-than", "60w", "--dry-run"], mixed.base).stdout
    assert text == "1 commits and 1 findings of 2020-01-01 to 2020-01-01 would be removed\n"


def test_nothing_old_is_no_work(mixed: Host) -> None:
    """Where nothing is older there is no archive, and nothing is marked as pruned."""
    assert prune(mixed).stdout.startswith("nothing is older than 2016-")
    assert [path.name for path in mixed.history.parent.iterdir()] == ["history.db"]
    assert mixed.query("SELECT pruned_before FROM about")[0]["pruned_before"] is None


def test_an_archive_that_cannot_be_written_keeps_everything(mixed: Host) -> None:
    """No directory for the archive, no pruning: one line, exit status 1."""
    arguments = [*mixed.arguments(), "prune", "--older-than", "60w", "--archive", str(mixed.base / "no/where.jsonl")]
    result = run(arguments, mixed.base)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "nothing was pruned" in result.stderr
    assert sorted(names(mixed)) == ["o/r/new", "o/r/old"]


def test_numbers_are_not_used_again(mixed: Host) -> None:
    """What was exported up to a cursor stays so: the next commit gets a new number."""
    last = max(row["id"] for row in mixed.query("SELECT id FROM dispatch_history"))
    run([*mixed.arguments(), "prune", "--older-than", "1m"], mixed.base)
    make(mixed.root, "o/r/newer", updated_at="2026-11-02T00:00:00Z")
    mixed.once()
    (row,) = mixed.query("SELECT id FROM dispatch_history WHERE workspace = 'o/r/newer'")
    assert row["id"] > last


@pytest.mark.parametrize("span", ["", "180", "d", "-3d", "0d", "999999999w", "today"])
def test_what_is_no_span_is_a_usage_error(mixed: Host, span: str) -> None:
    """Exit status 2, and nothing goes."""
    result = run([*mixed.arguments(), "prune", "--older-than", span], mixed.base)
    assert result.returncode == 2
    assert len(names(mixed)) == 2


def test_without_a_history_none_is_made(host: Host) -> None:
    """Nothing to prune is said, and no file appears."""
    result = run([*host.arguments(), "prune", "--older-than", "60w"], host.base)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert not host.history.parent.exists()


def test_an_archive_that_is_there_is_kept(mixed: Host) -> None:
    """The one of an earlier prune may be the only copy of what went: the name is refused, and nothing is pruned."""
    archive = mixed.base / "old.jsonl"
    archive.write_text("the only copy\n")
    result = prune(mixed, "--older-than", "60w", "--archive", str(archive), code=1)
    assert str(archive) in result.stderr
    assert archive.read_text() == "the only copy\n"
    assert len(names(mixed)) == 2
    assert list(mixed.base.glob("*.part")) == []


def test_a_pruned_commit_stays_done_when_its_marker_is_lost(mixed: Host) -> None:
    """Its journal line alone says that it is done, also to a pass that has seen this journal before."""
    pruned(mixed)
    mixed.once()
    workspace = Workspace(mixed.root, "o/r/old")
    workspace.marker.unlink()
    assert mixed.once().counts == {"scanned": 2, "skipped": 2}
    assert len(workspace.lines()) == 1
    assert names(mixed) == ["o/r/new"]
