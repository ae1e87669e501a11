"""A workspace that was moved stays itself, one that was copied is another; what was pruned stays pruned."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import UPDATED, Host, Workspace, make, run, snapshot, status_of

from agentic_watch.commit import committer
from agentic_watch.commit.found import look_up

OLD, NEW = "org/repo/old", "org2/repo/new"


def committed(host: Host, name: str = OLD, runs: int = 2) -> Workspace:
    """A workspace with some commits."""
    workspace = make(host.root, name)
    for number in range(1, runs + 1):
        workspace.write_status(runs=number, updated_at=f"2026-04-14T11:00:0{number}Z")
        assert host.once().counts["committed"] == 1
    return workspace


def move(workspace: Workspace, name: str) -> Workspace:
    """Rename it as an operator does."""
    to = Workspace(workspace.root, name)
    to.path.parent.mkdir(parents=True, exist_ok=True)
    return Workspace(workspace.root, str(Path(workspace.path).rename(to.path).relative_to(workspace.root)))


def rows(host: Host) -> list[tuple[str, int, str | None]]:
    """(workspace, runs, moved_to) of every row."""
    sql = "SELECT workspace, runs, moved_to FROM dispatch_history ORDER BY updated_utc, workspace"
    return [tuple(row) for row in host.query(sql)]


def test_a_moved_workspace_is_not_recorded_again(host: Host) -> None:
    """Its rows keep their identity and say where it is now; nothing in it is written, and nothing is warned of."""
    moved = move(committed(host), NEW)
    before = snapshot(moved.path)
    first, second = host.once(), host.once()
    assert (first.code, first.counts, first.stderr) == (0, {"scanned": 1, "skipped": 1}, "")
    assert (second.code, second.counts, second.stderr) == (0, {"scanned": 1, "skipped": 1}, "")
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW)]
    assert snapshot(moved.path) == before


def test_a_moved_workspace_goes_on_under_its_new_name(host: Host) -> None:
    """Its next run is a commit of the new name, in the same journal; the old ones stay what they are."""
    moved = move(committed(host), NEW)
    moved.write_status(runs=3, updated_at="2026-04-14T11:00:03Z")
    assert host.once().counts == {"scanned": 1, "committed": 1}
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW), (NEW, 3, None)]
    assert [line["workspace"] for line in moved.lines()] == [OLD, OLD, NEW]
    assert host.once().counts == {"scanned": 1, "skipped": 1}


@pytest.mark.parametrize("name", [OLD, NEW])
def test_the_commits_of_a_moved_workspace_are_listed_by_either_name(host: Host, name: str) -> None:
    """`history --workspace` finds them under the name that they were made with, and under the one it has now."""
    move(committed(host), NEW)
    host.once()
    result = run([*host.arguments(), "history", "--workspace", name, "--json"], host.base)
    assert [json.loads(line)["runs"] for line in result.stdout.splitlines()] == [2, 1]


def test_a_renamed_organisation_is_recognised_whole(host: Host) -> None:
    """Every workspace below it keeps its commits."""
    names = [f"org/repo/{number}" for number in range(5)]
    for name in names:
        committed(host, name, 1)
    (host.root / "org").rename(host.root / "moved")
    assert host.once().counts == {"scanned": 5, "skipped": 5}
    assert rows(host) == [(name, 1, name.replace("org", "moved")) for name in names]


def test_a_workspace_that_is_moved_twice_is_still_itself(host: Host) -> None:
    """Its rows say the last place."""
    moved = move(committed(host), "a/b/first")
    host.once()
    move(moved, NEW)
    assert host.once().counts == {"scanned": 1, "skipped": 1}
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW)]


def test_a_lost_history_knows_moved_workspaces_again(host: Host) -> None:
    """The rows come back under the name that their lines have, with the new place."""
    move(committed(host), NEW)
    host.once()
    host.forget_history()
    assert host.once().counts == {"scanned": 1, "skipped": 1, "recovered_rows": 2}
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW)]


def test_another_workspace_at_the_old_place_is_its_own(host: Host) -> None:
    """A dispatch that is made where the moved one was takes nothing from it, nor gives."""
    move(committed(host), NEW)
    host.once()
    again = make(host.root, OLD, runs=1, updated_at="2026-05-01T00:00:00Z")
    assert host.once().counts == {"scanned": 2, "committed": 1, "skipped": 1}
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW), (OLD, 1, None)]
    assert len(again.lines()) == 1
    assert host.once().counts == {"scanned": 2, "skipped": 2}


def look_again(workspace: Workspace) -> None:
    """Its dispatcher writes the same status once more."""
    (workspace.meta / "status.json").write_text(json.dumps(status_of(workspace)))


def lose_marker(workspace: Workspace) -> None:
    workspace.marker.unlink()


def spoil_marker(workspace: Workspace) -> None:
    workspace.marker.write_text("{")


def lose_both(workspace: Workspace) -> None:
    workspace.marker.unlink()
    workspace.journal.unlink()


@pytest.mark.parametrize("lose", [lose_marker, spoil_marker])
def test_the_row_knows_a_moved_workspace_though_its_old_place_is_taken(
    host: Host, lose: Callable[[Workspace], None]
) -> None:
    """Without its marker it is judged by the line that it has under its former name: no second line, no second row."""
    moved = move(committed(host), NEW)
    host.once()
    make(host.root, OLD, runs=1, updated_at="2026-05-01T00:00:00Z")
    host.once()
    lines = moved.lines()
    lose(moved)
    look_again(moved)
    assert host.once().counts == {"scanned": 2, "skipped": 2}
    assert moved.marker.exists()
    assert moved.lines() == lines
    look_again(moved)
    result = host.once()
    assert (result.counts, result.stderr) == ({"scanned": 2, "skipped": 2}, "")
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW), (OLD, 1, None)]


@pytest.mark.parametrize("taken", [False, True])
def test_a_moved_workspace_that_lost_its_journal_has_one_row(host: Host, taken: bool) -> None:
    """The line that is written again has the new name, the row keeps the former one, and is the only one."""
    moved = move(committed(host), NEW)
    host.once()
    if taken:
        make(host.root, OLD, runs=1, updated_at="2026-05-01T00:00:00Z")
        host.once()
    before = rows(host)
    lose_both(moved)
    for _ in range(3):
        look_again(moved)
        assert "recovered_rows" not in host.once().counts
    assert [line["workspace"] for line in moved.lines()] == [NEW]
    assert rows(host) == before
    again = move(moved, "c/d/third")
    for _ in range(2):
        look_again(again)
        counts = host.once().counts
        assert counts["skipped"] == counts["scanned"]
    assert rows(host) == [(name, run, place and "c/d/third") for name, run, place in before]


def test_two_that_were_moved_from_one_place_are_both_known(host: Host) -> None:
    """Each has the rows that its own journal tells of, and no others."""
    move(committed(host), NEW)
    host.once()
    second = make(host.root, OLD, runs=5, updated_at="2026-05-01T00:00:00Z")
    host.once()
    move(second, "c/d/second")
    for _ in range(2):
        assert host.once().counts == {"scanned": 2, "skipped": 2}
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW), (OLD, 5, "c/d/second")]


def test_a_moved_workspace_gives_no_rows_to_the_one_at_its_old_place(host: Host) -> None:
    """What its journal tells of a workspace that is there again, and the history does not know of, is not believed."""
    moved = move(committed(host), NEW)
    host.once()
    make(host.root, OLD, runs=1, updated_at="2026-05-01T00:00:00Z")
    host.once()
    before = rows(host)
    with moved.journal.open("a") as journal:
        journal.write(json.dumps({**moved.lines()[0], "runs": 9}) + "\n")
    assert "recovered_rows" not in host.once().counts
    assert rows(host) == before


def test_a_copy_is_a_dispatch_of_its_own(host: Host) -> None:
    """While both are there its lines are foreign, and its status is committed under its own name."""
    original = committed(host)
    copy = Workspace(host.root, NEW)
    shutil.copytree(original.path, copy.path)
    result = host.once()
    assert result.counts == {"scanned": 2, "committed": 1, "skipped": 1}
    assert "2 lines name another workspace" in result.stderr
    assert rows(host) == [(OLD, 1, None), (OLD, 2, None), (NEW, 2, None)]


def test_a_workspace_that_is_moved_while_the_history_cannot_be_used_is_still_itself(host: Host) -> None:
    """No line is added meanwhile: its journal has one, and its former place is empty; the rows follow later."""
    moved = move(committed(host), NEW)
    aside = host.history.rename(host.history.with_name("aside"))
    host.history.mkdir()
    assert host.once().code == 1
    assert [line["workspace"] for line in moved.lines()] == [OLD, OLD]
    host.history.rmdir()
    aside.rename(host.history)
    assert host.once().counts == {"scanned": 1, "skipped": 1}
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW)]
    assert [line["workspace"] for line in moved.lines()] == [OLD, OLD]


@pytest.mark.parametrize("runs_again", [False, True])
def test_a_copy_of_one_that_was_moved_and_came_back_is_a_dispatch_of_its_own(host: Host, runs_again: bool) -> None:
    """It was at the copy's place before; it is at its own now, and its rows say so."""
    moved = move(committed(host), NEW)
    host.once()
    back = move(moved, OLD)
    if runs_again:
        back.write_status(status="running", runs=3, updated_at="2026-04-14T11:00:03Z")
    host.once()
    assert rows(host) == [(OLD, 1, None), (OLD, 2, None)]
    if runs_again:
        back.write_status(runs=3, updated_at="2026-04-14T11:00:03Z")
        host.once()
    last = 3 if runs_again else 2
    shutil.copytree(back.path, Workspace(host.root, NEW).path)
    assert host.once().counts == {"scanned": 2, "committed": 1, "skipped": 1}
    assert rows(host)[-2:] == [(OLD, last, None), (NEW, last, None)]


def test_a_copy_at_the_former_place_does_not_bring_the_moved_one_back(host: Host) -> None:
    """While the moved one is at its new place its rows stay with it."""
    moved = move(committed(host), NEW)
    host.once()
    shutil.copytree(moved.path, Workspace(host.root, OLD).path)
    host.once()
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW)]


@pytest.mark.parametrize("former", ["../outside", "/etc", "a//b", ".", "a/../b", "a/b/c/d/e/f/g", "a\nb"])
def test_a_name_that_is_none_is_not_looked_for(host: Host, former: str) -> None:
    """Whatever an agent writes as its former name, it is a foreign line."""
    workspace = committed(host, runs=1)
    line = {**workspace.line(), "workspace": former, "runs": 9}
    with workspace.journal.open("a") as journal:
        journal.write(json.dumps(line) + "\n")
    host.forget_history()
    result = host.once()
    assert "1 lines name another workspace" in result.stderr
    assert rows(host) == [(OLD, 1, None)]


def test_the_records_of_a_removed_workspace_cannot_be_claimed(host: Host) -> None:
    """An agent that names a workspace that has gone, without knowing its commits, gets none of its rows."""
    shutil.rmtree(committed(host).path)
    thief = make(host.root, NEW, runs=1)
    forged = {"workspace": OLD, "updated_at": "2026-01-01T00:00:00Z", "runs": 7, "status": "completed"}
    thief.journal.write_text(json.dumps({**forged, "committed_at": "2026-01-01T00:00:01Z"}) + "\n")
    assert host.once().counts == {"scanned": 1, "committed": 1}
    assert (OLD, 7, NEW) not in rows(host)
    assert {row[2] for row in rows(host)} == {None}


# --- pruned


def prune(host: Host, before: str) -> None:
    """Remove rows by age, as `prune` does."""
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        gone = connection.execute("DELETE FROM dispatch_history WHERE updated_utc < ?", (before,)).rowcount
        connection.execute("UPDATE upkeep SET rows = rows - ?", (gone,))
        connection.execute("UPDATE about SET pruned_before = ?", (before,))


@pytest.mark.parametrize("lost", ["", "marker", "line"])
def test_what_was_pruned_never_comes_back(host: Host, lost: str) -> None:
    """A line or a marker that is older is taken for done: no row, no second line, whatever else is lost."""
    workspace = committed(host)
    prune(host, "2026-04-15T00:00:00.000000000Z")
    if lost == "marker":
        workspace.marker.unlink()
    elif lost == "line":
        workspace.journal.unlink()
    lines = workspace.journal.read_bytes() if lost != "line" else b""
    (workspace.meta / "status.json").write_text(json.dumps(status_of(workspace)))
    for _ in range(2):
        result = host.once()
        assert (result.code, result.counts) == (0, {"scanned": 1, "skipped": 1})
    assert rows(host) == []
    assert workspace.journal.exists() == (lost != "line")
    assert lost == "line" or workspace.journal.read_bytes() == lines


def test_what_is_pruned_while_its_journal_is_read_stays_gone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass that has looked the history up before the pruning, and reads the journal after it, brings nothing back."""
    workspace = committed(host)
    look_again(workspace)
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("UPDATE workspaces SET signature = x'', journal = x''")

    def look_up_then_prune(*arguments: Any) -> Any:
        known = look_up(*arguments)
        prune(host, "2026-04-15T00:00:00.000000000Z")
        return known

    monkeypatch.setattr(committer, "look_up", look_up_then_prune)
    host.once_here()
    assert rows(host) == []
    assert len(workspace.lines()) == 2


def test_what_is_younger_than_the_pruning_comes_back(host: Host) -> None:
    """Of one journal the younger lines become rows again, the older do not."""
    committed(host)
    prune(host, "2026-04-14T11:00:02.000000000Z")
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("DELETE FROM dispatch_history")
        connection.execute("UPDATE workspaces SET signature = x'', journal = x''")
    host.once()
    assert rows(host) == [(OLD, 2, None)]


def test_an_old_finish_that_was_never_committed_is_committed(host: Host) -> None:
    """Age alone says nothing: there is neither marker nor line."""
    committed(host, runs=1)
    prune(host, "2026-04-15T00:00:00.000000000Z")
    late = make(host.root, NEW, updated_at="2026-04-01T00:00:00Z")
    assert host.once().counts["committed"] == 1
    assert late.marker.exists()
    assert rows(host) == [(NEW, 0, None)]


def test_a_line_that_names_no_workspace_is_nobodys(host: Host) -> None:
    """A planted line of the same identity without a name keeps the dispatch neither from its line nor from its row."""
    workspace = make(host.root)
    planted = {"status": "completed", "updated_at": UPDATED, "committed_at": "2020-01-01T00:00:00Z"}
    workspace.journal.write_text(json.dumps(planted) + "\n")
    assert host.once().counts == {"scanned": 1, "committed": 1}
    assert host.rows()[workspace.name]["committed_at"] != planted["committed_at"]
    assert [line["workspace"] for line in workspace.lines()[1:]] == [workspace.name]
