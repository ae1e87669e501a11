"""A dispatch is recorded once, wherever its directory goes; what was pruned stays pruned."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import UPDATED, Host, Workspace, make, run, snapshot, status_of, write_locked

from agentic_watch.answers.check.check_result import subject
from agentic_watch.answers.check.quick_check import waiting
from agentic_watch.commit import committer
from agentic_watch.commit.committer import Committer
from agentic_watch.commit.judging import look_up
from agentic_watch.config import Config, Root
from agentic_watch.history.store import History
from agentic_watch.workspace.candidate import Candidate

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
    """The line that is written again names what the row names, which is the only one."""
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
    assert [line["workspace"] for line in moved.lines()] == [OLD]
    assert rows(host) == before
    again = move(moved, "c/d/third")
    for _ in range(2):
        look_again(again)
        counts = host.once().counts
        assert counts["skipped"] == counts["scanned"]
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, "c/d/third"), *before[2:]]


def test_a_line_says_nothing_of_where_another_dispatch_of_its_time_went(host: Host) -> None:
    """Two of one name and time in two roots, which started at other times; the one gives its place to the other."""
    first = committed(host, runs=1)
    there = Workspace(host.base / "other", OLD)
    shutil.copytree(first.path, there.path)
    shutil.rmtree(there.meta)
    there.write_status(runs=1, updated_at="2026-04-14T11:00:01Z", started_at="2026-04-14T10:00:00Z")
    roots = ["--root", str(there.root)]
    host.once(*roots)
    move(first, NEW)
    there.path.rename(first.path)
    for _ in range(2):
        host.once(*roots)
    assert {row[2] for row in rows(host)} == {NEW, str(first.path)}


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


def copied(workspace: Workspace, name: str) -> Workspace:
    """`cp -a` of a workspace."""
    copy = Workspace(workspace.root, name)
    shutil.copytree(workspace.path, copy.path)
    return copy


def test_a_copy_is_not_recorded_again(host: Host) -> None:
    """It holds what was recorded: nothing is written into it, and its rows say where it was seen last."""
    copy = copied(committed(host), NEW)
    before = snapshot(copy.path)
    result = host.once()
    assert (result.counts, result.stderr) == ({"scanned": 2, "skipped": 2}, "")
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW)]
    assert snapshot(copy.path) == before
    assert host.once().counts == {"scanned": 2, "skipped": 2}


def test_what_a_copy_runs_is_recorded_under_its_name(host: Host) -> None:
    """It has a time of its own, so it is another dispatch."""
    original = committed(host)
    copied(original, NEW).write_status(runs=2, updated_at="2026-05-01T00:00:00Z")
    assert host.once().counts == {"scanned": 2, "committed": 1, "skipped": 1}
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW), (NEW, 2, None)]


@pytest.mark.parametrize("jobs", [1, 4])
def test_forty_copies_whose_original_is_gone_are_recorded_once(host: Host, jobs: int) -> None:
    """Whoever comes first: all of them hold the one dispatch, and all are done."""
    original = committed(host)
    for number in range(40):
        copied(original, f"org/repo/copy-{number}")
    shutil.rmtree(original.path)
    for _ in range(2):
        assert host.once("--jobs", str(jobs)).counts == {"scanned": 40, "skipped": 40}
    assert [row[:2] for row in rows(host)] == [(OLD, 1), (OLD, 2)]


def empty_directories(old: Path) -> None:
    """What `rsync --remove-source-files` leaves."""
    (old / ".meta").mkdir(parents=True)
    (old / "repo").mkdir()


def log_file(old: Path) -> None:
    old.write_text("moved\n")


def link(old: Path) -> None:
    old.symlink_to("/nowhere")


def organisation(old: Path) -> None:
    """Its former name is a directory of others by now."""
    (old / "inner" / ".meta").mkdir(parents=True)


@pytest.mark.parametrize("leave", [empty_directories, log_file, link, organisation])
def test_what_is_left_at_the_old_place_does_not_matter(host: Host, leave: Callable[[Path], None]) -> None:
    """The journal tells whose dispatch it is, not what stands where it was."""
    original = committed(host)
    moved = move(original, NEW)
    leave(original.path)
    for _ in range(2):
        assert host.once().counts == {"scanned": 1, "skipped": 1}
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW)]
    assert len(moved.lines()) == 2


def test_a_dispatch_at_the_old_place_before_the_next_pass_is_its_own(host: Host) -> None:
    """The moved one is known by what it holds, the new one by its time."""
    moved = move(committed(host), NEW)
    again = make(host.root, OLD, runs=1, updated_at="2026-05-01T00:00:00Z")
    assert host.once().counts == {"scanned": 2, "committed": 1, "skipped": 1}
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW), (OLD, 1, None)]
    assert (len(moved.lines()), len(again.lines())) == (2, 1)


@pytest.mark.parametrize("lost", [False, True], ids=["the history is there", "the history was lost"])
@pytest.mark.parametrize("count", [2, 3], ids=["swapped", "rotated"])
def test_workspaces_that_change_places_stay_what_they_are(host: Host, count: int, lost: bool) -> None:
    """Each has the rows of its own journal, wherever it stands."""
    names = [f"org/repo/{number}" for number in range(count)]
    for day, name in enumerate(names, 1):
        make(host.root, name, updated_at=f"2026-05-0{day}T00:00:00Z")
    host.once()
    aside = [Path(host.root, name).rename(host.base / f"aside-{number}") for number, name in enumerate(names)]
    places = [*names[1:], names[0]]
    for directory, place in zip(aside, places, strict=True):
        directory.rename(host.root / place)
    if lost:
        host.forget_history()
    for _ in range(2):
        assert host.once().counts["skipped"] == count
    assert rows(host) == [(name, 0, place) for name, place in zip(names, places, strict=True)]
    assert [len(Workspace(host.root, name).lines()) for name in names] == [1] * count


def test_a_shift_into_a_place_that_was_left_is_known(host: Host) -> None:
    """One goes away, its neighbour takes its place: each keeps its rows."""
    first = make(host.root, "org/repo/0", updated_at="2026-05-01T00:00:00Z")
    second = make(host.root, "org/repo/1", updated_at="2026-05-02T00:00:00Z")
    host.once()
    move(first, "org/repo/2")
    move(second, "org/repo/0")
    assert host.once().counts == {"scanned": 2, "skipped": 2}
    assert rows(host) == [("org/repo/0", 0, "org/repo/2"), ("org/repo/1", 0, "org/repo/0")]


def test_a_journal_that_is_rotated_away_before_the_move_leaves_the_marker(host: Host) -> None:
    """The marker names the row: no line, no second row."""
    workspace = committed(host)
    workspace.journal.rename(workspace.meta / "journal.jsonl.1")
    moved = move(workspace, NEW)
    for _ in range(2):
        assert host.once().counts == {"scanned": 1, "skipped": 1}
    assert rows(host) == [(OLD, 1, None), (OLD, 2, NEW)]
    assert not moved.journal.exists()


def test_a_move_is_known_behind_many_pruned_lines(host: Host) -> None:
    """However many lines of its journal have no rows any more."""
    workspace = committed(host)
    old = [{**workspace.lines()[0], "runs": run, "updated_at": "2020-01-01T00:00:00Z"} for run in range(500)]
    workspace.journal.write_text("".join(json.dumps(line) + "\n" for line in [*old, *workspace.lines()]))
    host.once()
    prune(host, "2026-01-01T00:00:00.000000000Z")
    lines = len(move(workspace, NEW).lines())
    assert host.once().counts == {"scanned": 1, "skipped": 1}
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW)]
    assert len(Workspace(host.root, NEW).lines()) == lines


@pytest.mark.parametrize("what", ["line", "marker"])
def test_what_was_pruned_and_moved_is_not_recorded_anew(host: Host, what: str) -> None:
    """Its line or its marker under the former name is older than the pruning: it is done."""
    workspace = committed(host, runs=1)
    prune(host, "2026-04-15T00:00:00.000000000Z")
    moved = move(workspace, NEW)
    (moved.journal if what == "marker" else moved.marker).unlink()
    for _ in range(2):
        assert host.once().counts == {"scanned": 1, "skipped": 1}
    assert rows(host) == []
    assert len(moved.lines() if what == "line" else []) == (what == "line")


@pytest.mark.parametrize("field", ["started_at", "org", "repo", "task", "agent", "branch"])
def test_a_template_that_was_copied_and_run_is_a_dispatch_of_its_own(host: Host, field: str) -> None:
    """Go's zero time is the time of both: what else is said of the dispatch tells them apart."""
    zero = "0001-01-01T00:00:00Z"
    original = make(host.root, OLD, updated_at=zero)
    host.once()
    copy = copied(original, NEW)
    copy.write_status(updated_at=zero, **{field: "2026-04-14T10:00:00Z" if field == "started_at" else "another"})
    assert host.once().counts == {"scanned": 2, "committed": 1, "skipped": 1}
    assert rows(host) == [(OLD, 0, NEW), (NEW, 0, None)]
    assert [line["workspace"] for line in copy.lines()] == [OLD, NEW]


def test_a_template_of_what_was_pruned_is_a_dispatch_of_its_own_when_it_ran(host: Host) -> None:
    """The marker that came with it is that of the line beside it, which is another dispatch's."""
    original = committed(host, runs=1)
    prune(host, "2026-04-15T00:00:00.000000000Z")
    copy = copied(original, NEW)
    copy.write_status(runs=1, updated_at="2026-04-14T11:00:01Z", task="another")
    assert host.once().counts == {"scanned": 2, "committed": 1, "skipped": 1}
    assert host.once().counts == {"scanned": 2, "skipped": 2}
    assert rows(host) == [(NEW, 1, None)]
    assert [line["workspace"] for line in copy.lines()] == [OLD, NEW]


def test_a_copy_that_says_otherwise_how_it_ended_is_warned_of(host: Host) -> None:
    """It is the same dispatch: nothing is appended."""
    copy = copied(committed(host, runs=1), NEW)
    copy.write_status(status="merged", runs=1, updated_at="2026-04-14T11:00:01Z")
    result = host.once()
    assert result.counts == {"scanned": 2, "skipped": 2}
    assert "differs from what was recorded" in result.stderr
    assert (rows(host), len(copy.lines())) == ([(OLD, 1, NEW)], 1)


@pytest.mark.parametrize("name", [OLD, NEW])
def test_a_workspace_that_goes_to_another_root_is_not_recorded_again(host: Host, name: str) -> None:
    """The rows of both roots are in one history; `moved_to` is a path then."""
    original = committed(host)
    other = host.base / "other"
    to = Workspace(other, name)
    to.path.parent.mkdir(parents=True)
    original.path.rename(to.path)
    roots = ["--root", str(other)]
    for _ in range(2):
        assert host.once(*roots).counts == {"scanned": 1, "skipped": 1}
    assert rows(host) == [(OLD, 1, str(to.path)), (OLD, 2, str(to.path))]
    assert len(to.lines()) == 2
    to.write_status(runs=3, updated_at="2026-04-14T11:00:03Z")
    assert host.once(*roots).counts == {"scanned": 1, "committed": 1}
    assert rows(host)[-1] == (name, 3, None)


def test_an_older_history_takes_in_what_a_moved_workspace_holds(host: Host) -> None:
    """One of its lines has its row: the others were written by the same directory, whatever has its old name now."""
    workspace = committed(host, runs=1)
    with contextlib.closing(sqlite3.connect(host.history)) as connection:
        connection.execute("VACUUM INTO ?", (str(host.base / "backup.db"),))
    workspace.write_status(runs=2, updated_at="2026-04-14T11:00:02Z")
    host.once()
    moved = move(workspace, NEW)
    moved.write_status(runs=3, updated_at="2026-04-14T11:00:03Z")
    make(host.root, OLD, runs=1, updated_at="2026-05-01T00:00:00Z")
    host.once()
    host.forget_history()
    (host.base / "backup.db").rename(host.history)
    host.once()
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW), (NEW, 3, None), (OLD, 1, None)]
    assert host.once().counts == {"scanned": 2, "skipped": 2}


def test_a_restored_workspace_is_done(host: Host) -> None:
    """An older copy of it is put back, under its own name or another: its finish has a row."""
    workspace = committed(host, runs=1)
    copied(workspace, "aside/of/it")
    workspace.write_status(runs=2, updated_at="2026-04-14T11:00:02Z")
    host.once()
    shutil.rmtree(workspace.path)
    move(Workspace(host.root, "aside/of/it"), OLD)
    assert host.once().counts == {"scanned": 1, "skipped": 1}
    assert [row[:2] for row in rows(host)] == [(OLD, 1), (OLD, 2)]


def test_a_move_is_known_in_a_history_that_was_exported_and_imported(host: Host) -> None:
    """The interchange object says where the workspace was seen last, and the row elsewhere, too."""
    move(committed(host), NEW)
    host.once()
    exported = host.base / "export.jsonl"
    exported.write_text(run([*host.arguments(), "export"], host.base).stdout)
    assert {json.loads(line)["moved_to"] for line in exported.read_text().splitlines()} == {NEW}
    host.forget_history()
    assert run([*host.arguments(), "import", str(exported)], host.base).returncode == 0
    assert rows(host) == [(OLD, 1, NEW), (OLD, 2, NEW)]
    assert host.once().counts == {"scanned": 1, "skipped": 1}


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


@pytest.mark.parametrize("has_row", [True, False])
def test_a_marker_of_another_name_waits_for_the_history(host: Host, has_row: bool) -> None:
    """Only the history can tell whether it was moved here without its journal, or has yet to be recorded."""
    workspace = committed(host, runs=1)
    workspace.journal.rename(workspace.meta / "journal.jsonl.1")
    moved = move(workspace, NEW)
    before = snapshot(moved.path)
    aside = host.history.rename(host.history.with_name("aside"))
    host.history.mkdir()
    assert host.once().code == 1
    assert snapshot(moved.path) == before
    host.history.rmdir()
    if has_row:
        aside.rename(host.history)
    assert host.once().counts == {"scanned": 1, "skipped" if has_row else "committed": 1}
    assert rows(host) == [(OLD, 1, NEW) if has_row else (NEW, 1, None)]
    assert moved.journal.exists() != has_row


def test_a_marker_leads_to_its_row_though_the_history_cannot_be_written_to(host: Host) -> None:
    """It was moved without its journal: where it is now is recorded later, and nothing else."""
    workspace = committed(host, runs=1)
    workspace.journal.rename(workspace.meta / "journal.jsonl.1")
    moved = move(workspace, NEW)
    before = snapshot(moved.path)
    with write_locked(host.history):
        assert host.once().code == 1
    assert host.once().counts == {"scanned": 1, "skipped": 1}
    assert rows(host) == [(OLD, 1, NEW)]
    assert snapshot(moved.path) == before


@pytest.mark.parametrize("copies", [False, True])
def test_a_workspace_that_comes_back_is_where_it_was(host: Host, copies: bool) -> None:
    """Its rows say its own name again; a copy that it leaves where it was is nothing new."""
    moved = move(committed(host), NEW)
    host.once()
    if copies:
        copied(moved, OLD)
    else:
        move(moved, OLD)
    counts = host.once().counts
    assert counts["skipped"] == counts["scanned"]
    assert rows(host) == [(OLD, 1, None), (OLD, 2, None)]


@pytest.mark.parametrize("former", ["../outside", "/etc", "a//b", ".", "a/../b", "a/b/c/d/e/f/g", "a\nb"])
def test_a_name_that_is_none_is_not_looked_for(host: Host, former: str) -> None:
    """Whatever an agent writes as its former name, it is a foreign line."""
    workspace = committed(host, runs=1)
    line = {**workspace.line(), "workspace": former, "runs": 9}
    with workspace.journal.open("a") as journal:
        journal.write(json.dumps(line) + "\n")
    host.forget_history()
    result = host.once()
    assert "1 line names another workspace" in result.stderr
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


def test_what_another_program_recorded_under_another_name_has_one_row(host: Host) -> None:
    """Its journal was lost; core-agent wrote a line anew while it was elsewhere, and it is back."""
    workspace = committed(host, runs=1)
    line = workspace.lines()[0]
    workspace.marker.unlink()
    workspace.journal.write_text(json.dumps({**line, "workspace": NEW}) + "\n")
    host.once()
    assert rows(host) == [(OLD, 1, None)]
    assert len(workspace.lines()) == 1
    assert host.once().counts == {"scanned": 1, "skipped": 1}


def test_a_line_comes_back_though_another_has_the_identity_of_its_new_name(host: Host) -> None:
    """It was moved to a name where another dispatch of the same time and run has a row, recorded there again by
    core-agent, and the history lost: its former line still has its row."""
    workspace = committed(host, "org/repo/other", runs=1)
    (line,) = workspace.lines()
    mine = {**line, "workspace": OLD, "task": "mine"}
    again = {**mine, "workspace": workspace.name}
    workspace.journal.write_text(f"{json.dumps(mine)}\n{json.dumps(again)}\n")
    workspace.write_status(task="mine", runs=1, updated_at=line["updated_at"])
    host.once()
    found = host.query("SELECT workspace, task FROM dispatch_history ORDER BY 1")
    assert [tuple(row) for row in found] == [(OLD, "mine"), ("org/repo/other", line["task"])]


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


def test_what_was_pruned_stays_gone_beside_two_rows_of_one_line(host: Host) -> None:
    """A workspace and its copy in another root finished alike, so one line has two rows; an older line has none."""
    original = committed(host, runs=1)
    copy = Workspace(host.base / "other", OLD)
    shutil.copytree(original.path, copy.path)
    for workspace in (original, copy):
        workspace.write_status(runs=2, updated_at="2026-04-14T11:00:02Z")
    roots = ["--root", str(host.base / "other")]
    assert host.once(*roots).counts["committed"] == 2
    prune(host, "2026-04-14T11:00:02.000000000Z")
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("UPDATE workspaces SET signature = x'', journal = x''")
    host.once(*roots)
    assert [runs for _, runs, _ in rows(host)] == [2, 2]


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


# --- the history was lost, or knows it under another name


def test_in_another_root_a_lost_marker_makes_no_second_line(host: Host) -> None:
    """The journal is read for it again: its line names the same workspace, and its row another root."""
    original = committed(host, runs=1)
    to = Workspace(host.base / "other", OLD)
    to.path.parent.mkdir(parents=True)
    original.path.rename(to.path)
    roots = ["--root", str(host.base / "other")]
    host.once(*roots)
    to.marker.unlink()
    for _ in range(2):
        assert host.once(*roots).counts == {"scanned": 1, "skipped": 1}
    assert (len(rows(host)), len(to.lines()), to.marker.exists()) == (1, 1, True)


@pytest.mark.parametrize("lost", [False, True])
def test_one_dispatch_with_lines_under_two_names_has_one_row(host: Host, lost: bool) -> None:
    """core-agent has committed it once more where it was moved to."""
    moved = move(committed(host, runs=1), NEW)
    line = moved.line()
    with moved.journal.open("a") as journal:
        journal.write(json.dumps({**line, "workspace": NEW}) + "\n")
    moved.marker.write_text(json.dumps({**json.loads(moved.marker.read_text()), "workspace": NEW}))
    if lost:
        host.forget_history()
    for _ in range(2):
        assert host.once().counts["skipped"] == 1
    assert len(rows(host)) == 1


def test_a_copy_with_lines_under_two_names_has_the_row_of_the_second_one(host: Host) -> None:
    """Its first line names a place without a row, its marker is lost, and the row tells where the original went."""
    original = committed(host, runs=1)
    line = json.loads(original.journal.read_text())
    original.journal.write_text("".join(json.dumps(line | {"workspace": name}) + "\n" for name in ("org/repo/a", OLD)))
    copy = Workspace(host.root, "org/repo/copy")
    shutil.copytree(original.path, copy.path)
    assert host.once().counts == {"scanned": 2, "skipped": 2}
    move(original, NEW)
    assert host.once().counts == {"scanned": 2, "skipped": 2}
    copy.marker.unlink()
    before = copy.journal.read_bytes()
    host.once()
    assert [row[:2] for row in rows(host)] == [(OLD, 1)]
    assert copy.journal.read_bytes() == before
    assert json.loads(copy.marker.read_text())["workspace"] == OLD
    assert host.once().counts == {"scanned": 2, "skipped": 2}


def test_each_of_two_dispatches_with_lines_of_one_time_and_run_gets_a_row(host: Host) -> None:
    """The second one's line under the present name cannot have one: its line under the former name has it."""
    moved = move(committed(host, runs=1), NEW)
    line = moved.line()
    with moved.journal.open("a") as journal:
        for task in ("another", line["task"]):
            journal.write(json.dumps({**line, "task": task, "workspace": NEW}) + "\n")
    moved.write_status(status="running", runs=2, updated_at="2026-05-01T00:00:00Z")
    host.forget_history()
    assert host.once().counts == {"scanned": 1, "unfinished": 1, "recovered_rows": 2}
    assert {name: row["task"] for name, row in host.rows().items()} == {NEW: "another", OLD: line["task"]}


def test_a_lost_history_is_rebuilt_where_an_old_name_is_an_organisation_now(host: Host) -> None:
    """What stands there is no workspace, so nobody else could tell of it."""
    flat = committed(host, "flat", runs=1)
    flat.path.rename(host.base / "aside")
    nested = Workspace(host.root, "flat/repo/task")
    nested.path.parent.mkdir(parents=True)
    (host.base / "aside").rename(nested.path)
    nested.write_status(status="running", runs=2, updated_at="2026-04-14T11:00:02Z")
    host.forget_history()
    assert host.once().counts == {"scanned": 1, "unfinished": 1, "recovered_rows": 1}
    assert rows(host) == [("flat", 1, "flat/repo/task")]


def test_a_lost_history_is_rebuilt_from_workspaces_that_changed_places_and_run_again(host: Host) -> None:
    """Each stands where the other was, and has lines of the other's name only: both came from there."""
    names = ["org/repo/0", "org/repo/1"]
    for name in names:
        workspace = make(host.root, name, runs=1, task=f"that of {name}")
        host.once()
        workspace.write_status(status="running", runs=2, updated_at="2026-05-01T00:00:00Z", task=f"that of {name}")
    aside = [Path(host.root, name).rename(host.base / name.replace("/", "-")) for name in names]
    for directory, name in zip(aside, reversed(names), strict=True):
        directory.rename(host.root / name)
    host.forget_history()
    assert host.once().counts == {"scanned": 2, "unfinished": 2, "recovered_rows": 2}
    assert rows(host) == [("org/repo/0", 1, "org/repo/1"), ("org/repo/1", 1, "org/repo/0")]


def test_a_workspace_that_has_a_name_is_not_added_to_by_others(host: Host) -> None:
    """Lines that an agent plants in the name of its neighbour, before it was ever committed, are reported."""
    neighbour = make(host.root, "z/z/neighbour")
    planted = make(host.root, "a/a/planter", task="another")
    line = {"updated_at": "2026-01-01T00:00:00Z", "runs": 7, "status": "completed", "workspace": neighbour.name}
    planted.journal.write_text(json.dumps({**line, "committed_at": "2026-01-01T00:00:01Z"}) + "\n")
    result = host.once()
    assert result.counts == {"scanned": 2, "committed": 2}
    assert "1 line names another workspace" in result.stderr
    assert len(rows(host)) == 2


@pytest.mark.parametrize("copy", ["a/a/copy", "z/z/copy"])
def test_lines_that_were_passed_over_count_once_the_history_knows_their_name(host: Host, copy: str) -> None:
    """Another dispatch has the name that it had before, and the history was lost: a copy of an earlier state tells
    whose lines these are, whichever of the two is read first."""
    original = committed(host, runs=1)
    copied(original, copy)
    original.write_status(runs=2, updated_at="2026-04-14T11:00:02Z")
    host.once()
    moved = move(original, NEW)
    moved.write_status(status="running", runs=3, updated_at="2026-05-01T00:00:00Z")
    make(host.root, OLD, task="another", updated_at="2026-06-01T00:00:00Z")
    host.forget_history()
    for _ in range(2):
        host.once()
    assert [(name, run) for name, run, _ in rows(host)] == [(OLD, 1), (OLD, 2), (OLD, 0)]
    assert "; skipped" not in host.once().stderr


@pytest.mark.parametrize("other_root", [False, True])
def test_a_copy_is_shown_as_committed(host: Host, other_root: bool) -> None:
    """`show` says under which name the dispatch was recorded, whichever of its copies is asked for."""
    original = committed(host, runs=1)
    root = host.base / "other" if other_root else host.root
    arguments = ["--root", str(root), *host.arguments()]
    copies = [Workspace(root, name) for name in ("a/a/one", "a/a/two")]
    for copy in copies:
        shutil.copytree(original.path, copy.path)
    run([*arguments, "--once"], host.base)
    for copy in copies:
        shown = json.loads(run([*arguments, "show", str(copy.path), "--json"], host.base).stdout)
        assert (shown["on_disk"]["committed"], shown["dispatch"]["workspace"]) == (True, OLD)


def test_a_lost_history_has_one_row_of_a_copy_in_another_root(host: Host) -> None:
    """The line of the workspace under its own name counts, whichever of the two is looked at first."""
    original = make(host.base / "other", "b/x/3")
    roots = (Root(str(host.root)), Root(str(host.base / "other")))
    run(["--root", roots[1].path, *host.arguments(), "--once"], host.base)
    shutil.copytree(original.path, host.root / "b")
    host.forget_history()
    with (
        contextlib.closing(History(str(host.history))) as history,
        contextlib.closing(Committer(Config(roots=roots, history=str(host.history)), history)) as committer,
    ):
        committer.commit_group([Candidate(roots[1], "b/x/3"), Candidate(roots[0], "b")])
    assert [tuple(row) for row in host.query("SELECT root, workspace FROM dispatch_history")] == [
        (roots[1].path, "b/x/3")
    ]


def test_check_knows_each_copy_by_its_line_whatever_its_marker_names(host: Host) -> None:
    """The row tells where one of them is; the other has the line of that row, and another program's marker."""
    original = committed(host, runs=1)
    copies = [copied(original, name) for name in (NEW, "org2/repo/other")]
    shutil.rmtree(original.path)
    for copy in copies:
        copy.marker.write_text(json.dumps(copy.mark() | {"workspace": "org/repo/gone"}))
    assert host.once().counts == {"scanned": 2, "skipped": 2}
    before = [snapshot(copy.path) for copy in copies]
    assert run([*host.arguments(), "check", "--repair"], host.base).returncode == 0
    assert [snapshot(copy.path) for copy in copies] == before


@pytest.mark.parametrize(("runs_again", "marked_as"), [(False, OLD), (True, OLD), (False, NEW)])
def test_check_knows_a_workspace_of_another_root_that_lost_its_journal(
    host: Host, runs_again: bool, marked_as: str
) -> None:
    """The row that its marker names is that of its dispatch, also while the next one runs there. If another program
    marked it under a name without a row, the row still tells that it was moved here."""
    original = committed(host, runs=1)
    to = Workspace(host.base / "other", OLD)
    to.path.parent.mkdir(parents=True)
    original.path.rename(to.path)
    arguments = ["--root", str(host.base / "other"), *host.arguments()]
    run([*arguments, "--once"], host.base)
    to.journal.unlink()
    to.marker.write_text(json.dumps(to.mark() | {"workspace": marked_as}))
    if runs_again:
        to.write_status(status="running", task="another", runs=2, updated_at="2026-05-01T00:00:00Z")
    run([*arguments, "--once"], host.base)
    checked = run([*arguments, "check"], host.base).stdout
    assert "1 workspace: all records agree" in checked


@pytest.mark.parametrize("is_copy", [False, True])
def test_a_workspace_in_another_root_is_no_backlog(host: Host, is_copy: bool) -> None:
    """It has its row there, so that nobody has to commit it: `status`, `show` and the probe of monitoring know."""
    original, to = committed(host, runs=1), Workspace(host.base / "other", OLD)
    to.path.parent.mkdir(parents=True)
    (shutil.copytree if is_copy else os.rename)(original.path, to.path)
    arguments = [*host.arguments(), "--root", str(to.root)]
    run([*arguments, "--once"], host.base)
    assert "backlog: 0" in run([*arguments, "status"], host.base).stdout
    for path in (to.path, *([original.path] if is_copy else [])):
        assert "the history has its row" in run([*arguments, "show", str(path)], host.base).stdout
    roots = (Root(str(host.root)), Root(str(to.root)))
    about = replace(subject(Config(roots=roots, history=str(host.history))), now=time.time() + 3600.0)
    assert [found.ok for found in waiting(about)] == [True]


@pytest.mark.parametrize("is_gone", [False, True])
def test_check_holds_a_line_against_the_row_of_its_own_dispatch(host: Host, is_gone: bool) -> None:
    """A template ran in another root with its original's time and run, and was moved to the original's name: its first
    line, which bears that name now, is the original's; only how its own dispatch ended is held against its row."""
    original = committed(host, runs=1)
    other = Workspace(host.base / "other", NEW)
    shutil.copytree(original.path, other.path)
    other.write_status(task="another", runs=1, updated_at="2026-04-14T11:00:01Z")
    arguments = ["--root", str(other.root), *host.arguments()]
    run([*arguments, "--once"], host.base)
    moved = move(other, OLD)
    if is_gone:
        shutil.rmtree(original.path)
    run([*arguments, "--once"], host.base)
    assert [line["workspace"] for line in moved.lines()] == [OLD, NEW]
    assert "all records agree" in run([*arguments, "check"], host.base).stdout
    moved.write_status(task="another", status="failed", runs=1, updated_at="2026-04-14T11:00:01Z")
    found = json.loads(run([*arguments, "check", "--json"], host.base).stdout)["rows"]
    (wrong,) = (one["error"] for one in found if one["check"] == "records" and one["ok"] is False)
    assert "its status and its history row differ" in wrong


def test_a_link_at_the_old_place_speaks_for_nobody(host: Host) -> None:
    """Moved, with a link left for old users, run again, and the history lost: the run before the move comes back."""
    original = committed(host, runs=1)
    moved = move(original, NEW)
    original.path.symlink_to(moved.path)
    moved.write_status(status="running", runs=2, updated_at="2026-05-01T00:00:00Z")
    host.forget_history()
    assert host.once().counts == {"scanned": 1, "unfinished": 1, "recovered_rows": 1}
    assert rows(host) == [(OLD, 1, NEW)]


def test_two_copies_of_a_gone_workspace_are_one_row_of_a_lost_history(host: Host) -> None:
    """Both hold its line, in two roots and in one batch: the second finds the row that the first made."""
    original = committed(host, runs=1)
    roots = (Root(str(host.root)), Root(str(host.base / "other")))
    for root, name in ((roots[0], "b/x/1"), (roots[1], "b/x/2")):
        shutil.copytree(original.path, Path(root.path, name))
    shutil.rmtree(original.path)
    host.forget_history()
    with (
        contextlib.closing(History(str(host.history))) as history,
        contextlib.closing(Committer(Config(roots=roots, history=str(host.history)), history)) as made,
    ):
        made.commit_group([Candidate(roots[0], "b/x/1"), Candidate(roots[1], "b/x/2")])
    assert [row[:2] for row in rows(host)] == [(OLD, 1)]


def test_a_namesake_in_another_root_speaks_for_nobody(host: Host) -> None:
    """A name is one of its root: what was moved within this one comes back whoever has its old name in the other."""
    moved = move(committed(host, runs=1), NEW)
    moved.write_status(status="running", runs=2, updated_at="2026-05-01T00:00:00Z")
    make(host.base / "other", OLD, updated_at="2026-06-01T00:00:00Z")
    host.forget_history()
    host.once("--root", str(host.base / "other"))
    assert rows(host) == [(OLD, 1, NEW), (OLD, 0, None)]


def test_a_row_that_is_deleted_comes_back_from_another_root(host: Host) -> None:
    """Its line is in the journal of a workspace that stands below another root by now, under another name."""
    original = committed(host, runs=1)
    to = Workspace(host.base / "other", NEW)
    to.path.parent.mkdir(parents=True)
    original.path.rename(to.path)
    roots = ["--root", str(host.base / "other")]
    host.once(*roots)
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("DELETE FROM dispatch_history")
    host.once(*roots)
    assert len(rows(host)) == 1
    assert host.once(*roots).counts == {"scanned": 1, "skipped": 1}


@pytest.mark.parametrize("status", ["completed", "running"])
def test_a_row_of_the_same_name_in_another_root_comes_back(host: Host, status: str) -> None:
    """The workspace stands below another root by now, under its own name, whether it has begun another run or not."""
    original = committed(host, runs=1)
    to = Workspace(host.base / "other", OLD)
    to.path.parent.mkdir(parents=True)
    original.path.rename(to.path)
    if status == "running":
        to.write_status(status=status, runs=2, updated_at="2026-05-01T00:00:00Z")
    roots = ["--root", str(host.base / "other")]
    host.once(*roots)
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("DELETE FROM dispatch_history")
    host.once(*roots)
    assert [runs for _, runs, _ in rows(host)] == [1]


def test_where_another_went_says_nothing_of_a_copy(host: Host) -> None:
    """One finish was copied before it was committed: two dispatches. The second has the first one's place by now, and
    what a copy of the first holds is still the first one's: its row comes back when somebody deletes it."""
    first = make(host.root, OLD)
    second = copied(first, "org/repo/second")
    host.once()
    copy = copied(first, NEW)
    shutil.rmtree(first.path)
    move(second, OLD)
    host.once()
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("DELETE FROM dispatch_history WHERE workspace = ?", (OLD,))
    look_again(copy)
    assert host.once().counts["recovered_rows"] == 1
    assert {(name, to) for name, _, to in rows(host)} == {(OLD, NEW), (second.name, OLD)}


def test_a_line_is_no_row_of_a_namesake_that_was_committed_at_another_time(host: Host) -> None:
    """Two finished alike under one name in two roots, one was moved, and the history lost: what comes back says when it
    was committed where it says it was."""
    moved = move(committed(host, runs=1), NEW)
    (line,) = moved.lines()
    moved.write_status(status="running", runs=2, updated_at="2026-05-01T00:00:00Z")
    namesake = make(host.base / "other", OLD, runs=1, updated_at=line["updated_at"])
    namesake.journal.write_text(json.dumps({**line, "committed_at": "2026-04-30T04:47:50Z"}) + "\n")
    host.forget_history()
    host.once("--root", str(host.base / "other"))
    (row,) = host.query("SELECT root, committed_at FROM dispatch_history")
    assert tuple(row) == (str(host.root), line["committed_at"])


def test_the_marker_knows_the_row_of_what_another_program_recorded_again(host: Host) -> None:
    """Its journal was lost where it was moved to, core-agent wrote a line anew, and it was moved once more: the marker
    still names its row."""
    moved = move(committed(host, runs=1), NEW)
    (line,) = moved.lines()
    moved.journal.write_text(json.dumps({**line, "workspace": NEW}) + "\n")
    host.once()
    again = move(moved, "c/d/third")
    for _ in range(2):
        look_again(again)
        host.once()
    assert rows(host) == [(OLD, 1, again.name)]
    assert [line["workspace"] for line in again.lines()] == [NEW]


@pytest.mark.parametrize("again", [OLD, NEW])
def test_in_another_root_a_lost_journal_and_marker_make_no_second_row(host: Host, again: str) -> None:
    """Its row says where it is; the line that is written again names what the row names, core-agent's the new name."""
    original = committed(host, runs=1)
    (line,) = original.lines()
    to = Workspace(host.base / "other", NEW)
    to.path.parent.mkdir(parents=True)
    original.path.rename(to.path)
    roots = ["--root", str(host.base / "other")]
    host.once(*roots)
    lose_both(to)
    if again == NEW:
        to.journal.write_text(json.dumps({**line, "workspace": NEW}) + "\n")
    for _ in range(2):
        look_again(to)
        host.once(*roots)
    assert [line["workspace"] for line in to.lines()] == [again]
    assert rows(host) == [(OLD, 1, str(to.path))]
    checked = run([*roots, *host.arguments(), "check"], host.base).stdout
    assert "1 workspace: all records agree" in checked


def rename_in_marker(workspace: Workspace) -> None:
    """Its journal is lost, and another program's marker names a place that has no row."""
    workspace.journal.unlink()
    workspace.marker.write_text(json.dumps({**json.loads(workspace.marker.read_text()), "workspace": "c/d/third"}))


@pytest.mark.parametrize("lose", [lose_both, rename_in_marker])
@pytest.mark.parametrize("name", ["a/repo/copy", OLD])
def test_a_copy_does_not_take_the_place_of_what_only_its_row_tells_of(
    host: Host, name: str, lose: Callable[[Workspace], None]
) -> None:
    """Moved, its journal and its marker lost, and a copy that has both is looked at first: no second row, and no line
    under the new name."""
    moved = move(committed(host, runs=1), NEW)
    host.once()
    copy = copied(moved, name)
    lose(moved)
    look_again(moved)
    root = Root(str(host.root))
    with (
        contextlib.closing(History(str(host.history))) as history,
        contextlib.closing(Committer(Config(roots=(root,), history=str(host.history)), history)) as made,
    ):
        for where in (copy, moved, copy):
            made.commit_group([Candidate(root, where.name)])
    lines = moved.lines() if moved.journal.exists() else []
    assert {line["workspace"] for line in lines} <= {OLD}
    assert [found[:2] for found in rows(host)] == [(OLD, 1)]


@pytest.mark.parametrize("groups", [[[(0, OLD), (0, NEW)], [(1, OLD)]], [[(0, OLD), (1, OLD), (0, NEW)]]])
def test_a_copy_is_of_the_original_in_its_own_root(host: Host, groups: list[list[tuple[int, str]]]) -> None:
    """The history was lost; the original and a copy are read in one batch, and in another root stands a copy that has
    the original's name: one row."""
    original = committed(host, runs=1)
    roots = (Root(str(host.root)), Root(str(host.base / "other")))
    for root, name in ((roots[0], NEW), (roots[1], OLD)):
        shutil.copytree(original.path, Path(root.path, name))
    host.forget_history()
    with (
        contextlib.closing(History(str(host.history))) as history,
        contextlib.closing(Committer(Config(roots=roots, history=str(host.history)), history)) as made,
    ):
        for group in groups:
            made.commit_group([Candidate(roots[root], name) for root, name in group])
    assert [tuple(row) for row in host.query("SELECT root, workspace FROM dispatch_history")] == [(roots[0].path, OLD)]


def test_a_copy_is_of_the_original_in_another_root_though_a_namesake_of_its_finish_is_known(host: Host) -> None:
    """Two finished alike under one name in two roots; the one was moved, of the other there is a copy in the first
    one's root, and the history was lost: each has its one row, and nothing is written into the copy."""
    moved = move(committed(host, runs=1), NEW)
    (line,) = moved.lines()
    other = make(host.base / "other", OLD, runs=1, updated_at=line["updated_at"], started_at="2026-04-13T09:00:00Z")
    roots = ["--root", str(other.root)]
    host.once(*roots)
    copy = Workspace(host.root, "z/repo/copy")
    shutil.copytree(other.path, copy.path)
    before = snapshot(copy.path)
    host.forget_history()
    host.once(*roots)
    named = {(str(host.root), OLD), (str(other.root), OLD)}
    assert {tuple(row) for row in host.query("SELECT root, workspace FROM dispatch_history")} == named
    assert snapshot(copy.path) == before


def test_the_marker_of_a_copy_stays_where_a_namesake_of_its_finish_was(host: Host) -> None:
    """One finish was copied before it was committed, and a copy of the first takes the place of the second: its line
    confirms its marker, so nothing is written into it."""
    first = make(host.root, OLD)
    second = copied(first, NEW)
    host.once()
    shutil.rmtree(second.path)
    copied(first, NEW)
    before = snapshot(second.path)
    assert host.once().counts["skipped"] == 2
    assert snapshot(second.path) == before
    assert {name for name, *_ in rows(host)} == {OLD, NEW}


def test_a_copy_has_the_row_of_what_another_program_recorded_again(host: Host) -> None:
    """It went to another root, lost its journal, and core-agent wrote a line under its new name: the row is that of the
    original's first name, for its copies too."""
    original = committed(host, runs=1)
    (line,) = original.lines()
    to = Workspace(host.base / "other", NEW)
    to.path.parent.mkdir(parents=True)
    original.path.rename(to.path)
    roots = ["--root", str(to.root)]
    host.once(*roots)
    to.journal.write_text(json.dumps({**line, "workspace": NEW}) + "\n")
    to.marker.write_text(json.dumps({**json.loads(to.marker.read_text()), "workspace": NEW}))
    host.once(*roots)
    for name in ("c/d/one", "c/d/two"):
        shutil.copytree(to.path, host.root / name)
    assert host.once(*roots).counts["skipped"] == 3
    assert rows(host) == [(OLD, 1, str(to.path))]


def test_the_original_does_not_take_the_row_from_a_copy_whose_line_has_no_other(host: Host) -> None:
    """The copy lost its journal, core-agent recorded it there under its own name, and it ran on: its line is of the
    dispatch that has a row."""
    original = committed(host, runs=1)
    copy = copied(original, NEW)
    host.once()
    (line,) = copy.lines()
    copy.journal.write_text(json.dumps({**line, "workspace": NEW, "committed_at": "2026-04-30T04:47:50Z"}) + "\n")
    copy.marker.write_text(json.dumps({**json.loads(copy.marker.read_text()), "workspace": NEW}))
    copy.write_status(runs=2, updated_at="2026-05-01T00:00:00Z")
    for _ in range(2):
        look_again(original)
        os.utime(original.journal)  # so that it is read again
        host.once()
        assert rows(host) == [(OLD, 1, NEW), (NEW, 2, None)]
