"""A lost history comes back from whatever can still be read: archives, copies of links, broken and absent statuses."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import POWERLESS, Host, Workspace, make, snapshot

NAME = "org/repo/task"


def committed(host: Host, runs: int = 3) -> Workspace:
    """A workspace with some commits."""
    workspace = make(host.root)
    for run in range(1, runs + 1):
        workspace.write_status(runs=run, updated_at=f"2026-04-14T11:00:0{run}Z")
        assert host.once().counts["committed"] == 1
    return workspace


def rows(host: Host) -> list[tuple[Any, ...]]:
    """Every row but for its number."""
    return [tuple(row)[1:] for row in host.query("SELECT * FROM dispatch_history ORDER BY runs")]


def make_read_only(tree: Path) -> None:
    """As an archive is: nothing in it may be written."""
    for path in [*tree.rglob("*"), tree]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def test_a_read_only_tree_gives_its_rows_back(host: Host) -> None:
    """Each line of its journals is a row again; nothing there is written, and nothing fails."""
    committed(host)
    before = rows(host)
    host.forget_history()
    make_read_only(host.root)
    untouched = snapshot(host.root)
    result = host.once(lacking=POWERLESS)
    assert (result.code, result.failures) == (0, {})
    assert result.counts == {"scanned": 1, "skipped": 1, "recovered_rows": 3}
    assert rows(host) == before
    assert snapshot(host.root) == untouched


def test_what_would_have_to_be_written_in_a_read_only_tree_is_named(host: Host) -> None:
    """A finish that was never committed fails by name there; the rows of its journal come back all the same."""
    workspace = committed(host)
    workspace.write_status(runs=9, updated_at="2026-04-15T11:00:00Z")
    host.forget_history()
    make_read_only(host.root)
    result = host.once(lacking=POWERLESS)
    assert (list(result.failures), result.counts["recovered_rows"]) == ([NAME], 3)
    assert "Permission denied" in result.failures[NAME]
    assert len(rows(host)) == 3


def test_an_unreadable_marker_in_a_read_only_tree_hides_no_row(host: Host) -> None:
    """It cannot be moved aside, which is said; the journal is read."""
    workspace = committed(host)
    before = rows(host)
    workspace.marker.write_bytes(b"torn")
    host.forget_history()
    make_read_only(host.root)
    result = host.once(lacking=POWERLESS)
    assert "left there" in result.stderr
    assert rows(host) == before


@pytest.mark.parametrize("content", [b"", b'{"status":"compl', b"\0" * 64], ids=["empty", "torn", "zeros"])
def test_a_torn_status_hides_no_row(host: Host, content: bytes) -> None:
    """The workspace fails for its status, and the rows of its journal come back."""
    workspace = committed(host)
    before = rows(host)
    (workspace.meta / "status.json").write_bytes(content)
    host.forget_history()
    result = host.once()
    assert list(result.failures) == [NAME]
    assert "status.json" in result.failures[NAME]
    assert (result.counts["recovered_rows"], rows(host)) == (3, before)
    assert host.once().counts == {"scanned": 1, "failed": 1}


def test_a_workspace_without_a_status_gives_its_rows_back(host: Host) -> None:
    """Where only the journal is left it is found and looked through, once, and nothing is written."""
    workspace = committed(host)
    before = rows(host)
    (workspace.meta / "status.json").unlink()
    host.forget_history()
    untouched = snapshot(host.root)
    first, second = host.once(), host.once()
    assert (first.code, first.counts) == (0, {"scanned": 1, "unfinished": 1, "recovered_rows": 3})
    assert (second.code, second.counts) == (0, {"scanned": 1, "unfinished": 1})  # there is nothing to finish
    assert rows(host) == before
    assert snapshot(host.root) == untouched


def test_a_journal_that_grows_without_a_status_is_looked_through_again(host: Host) -> None:
    """Its signature is compared like that of a status."""
    workspace = committed(host)
    (workspace.meta / "status.json").unlink()
    host.once()
    with workspace.journal.open("a") as journal:
        journal.write(workspace.journal.read_text().splitlines()[0].replace('"runs":1', '"runs":7') + "\n")
    assert host.once().counts == {"scanned": 1, "unfinished": 1, "recovered_rows": 1}


def test_commit_of_a_workspace_without_a_status_fails(host: Host) -> None:
    """There is nothing to commit, whatever its journal says."""
    from support import run

    workspace = committed(host)
    (workspace.meta / "status.json").unlink()
    result = run([*host.arguments(), "commit", NAME], host.base)
    assert result.returncode != 0
    assert "status.json: is not there" in result.stderr


# --- cp -al


def linked(host: Host) -> Path:
    """A copy of the root whose files are the same files, under a second name."""
    copy = host.base / "copy"
    subprocess.run(["cp", "-al", host.root, copy], check=True)
    return copy


@pytest.mark.parametrize("layout", ["meta", "root"])
def test_a_tree_whose_files_have_a_second_name_does_not_fail(host: Host, layout: str) -> None:
    """What is committed stays so, what runs goes on, and no file under the other name is written."""
    make(host.root, layout=layout)
    make(host.root, "org/repo/running", layout=layout, status="running", question="later")
    assert host.once().counts["committed"] == 1
    copy = linked(host)
    untouched = snapshot(copy)
    result = host.once()
    assert (result.code, result.failures, result.stderr) == (0, {}, "")
    assert result.counts == {"scanned": 2, "skipped": 1, "unfinished": 1}
    assert snapshot(copy) == untouched


def test_a_lost_history_comes_back_from_linked_files(host: Host) -> None:
    """Archives by hard links give their rows: journals are read whatever other names they have."""
    committed(host)
    before = rows(host)
    copy = linked(host)
    host.forget_history()
    result = host.once()
    assert (result.code, result.counts) == (0, {"scanned": 1, "skipped": 1, "recovered_rows": 3})
    assert rows(host) == before
    assert copy.exists()


def test_a_linked_status_that_was_never_committed_is_refused(host: Host) -> None:
    """Its other name may lie outside of the root: what it says is not recorded."""
    workspace = make(host.root, question="secret")
    os.link(workspace.meta / "status.json", host.base / "elsewhere")
    result = host.once()
    assert "has 2 hard links" in result.failures[NAME]
    assert [path.name for path in workspace.meta.iterdir()] == ["status.json"]
    assert host.rows() == {}


def test_a_linked_status_that_says_otherwise_is_refused(host: Host) -> None:
    """Not even the index takes its words."""
    workspace = make(host.root)
    host.once()
    workspace.write_status(question="secret")
    os.link(workspace.meta / "status.json", host.base / "elsewhere")
    result = host.once()
    assert "has 2 hard links" in result.failures[NAME]
    assert not host.query("SELECT 1 FROM workspaces WHERE question LIKE '%secret%'")


def test_a_linked_journal_is_not_written(host: Host) -> None:
    """A new commit fails by name until the journal is a file of its own again."""
    workspace = committed(host, runs=1)
    os.link(workspace.journal, host.base / "elsewhere")
    workspace.write_status(runs=2)
    result = host.once()
    assert "journal.jsonl: has 2 hard links" in result.failures[NAME]
    assert len(workspace.lines()) == 1
    shutil.copy(workspace.journal, host.base / "own")
    (host.base / "own").rename(workspace.journal)
    assert host.once().counts["committed"] == 1
