"""A finish that was seen is recorded, though it is replaced or removed before it has come to rest."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator

import pytest
import support
from daemon_support import Service
from support import Host, Workspace, held_lock, make, write_locked

from agentic_watch.commit.committer import Committer
from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.config import Config, Root
from agentic_watch.history.store import History

NAME = "org/repo/task"
REPORT = {"findings": [{"tool": "ruff", "message": "seen"}]}


@pytest.fixture
def committer(host: Host) -> Iterator[Committer]:
    """A committer that has seen nothing yet."""
    with (
        contextlib.closing(History(str(host.history))) as history,
        contextlib.closing(Committer(host.config(), history)) as made,
    ):
        yield made


def finish(workspace: Workspace, run: int, status: str = "failed") -> None:
    """The dispatcher says that a run has this status."""
    workspace.write_status(status=status, runs=run, updated_at=f"2026-04-14T11:{run:02}:00Z")


def commit(committer: Committer, host: Host) -> list[Outcome]:
    return committer.commit_group([host.candidate()])


def runs(host: Host) -> list[int]:
    return [row["runs"] for row in host.query("SELECT runs FROM dispatch_history ORDER BY id")]


@pytest.mark.parametrize("layout", ["meta", "root"])
def test_a_finish_that_is_replaced_is_committed_from_what_was_read(
    host: Host, committer: Committer, layout: str
) -> None:
    """It fails, is seen, and runs again: line, row and marker say the failure, with the report as it was."""
    workspace = make(host.root, layout=layout, status="failed", runs=1, report=REPORT)
    committer.look_ahead(host.candidate())
    workspace.write_status(layout, status="running", runs=2, updated_at="2026-04-14T12:00:00Z")
    (workspace.meta / "report.json").unlink()
    assert [outcome.verdict for outcome in commit(committer, host)] == [Verdict.COMMITTED, Verdict.UNFINISHED]
    assert (workspace.line()["runs"], workspace.line()["findings"]) == (1, REPORT["findings"])
    assert (host.rows()[NAME]["status"], host.rows()[NAME]["findings_count"]) == ("failed", 1)
    assert workspace.mark()["runs"] == 1
    assert [outcome.verdict for outcome in commit(committer, host)] == [Verdict.UNFINISHED]


def test_finishes_in_a_row_are_committed_in_their_order(host: Host, committer: Committer) -> None:
    """Three finishes, the last one still there: three lines, and the marker of the last."""
    workspace = make(host.root)
    for run in (1, 2, 3):
        finish(workspace, run)
        committer.look_ahead(host.candidate())
    assert [outcome.verdict for outcome in commit(committer, host)] == [Verdict.COMMITTED] * 3
    assert [line["runs"] for line in workspace.lines()] == runs(host) == [1, 2, 3]
    assert workspace.mark()["runs"] == 3


def test_a_marker_is_not_put_back_to_a_finish_that_another_process_has_committed(
    host: Host, committer: Committer
) -> None:
    """It has committed the run that came after it, too: the marker goes on to vouch for that one."""
    workspace = make(host.root)
    finish(workspace, 1)
    committer.look_ahead(host.candidate())
    for run in (1, 2):
        finish(workspace, run)
        assert host.once().counts["committed"] == 1
    finish(workspace, 3, "running")
    assert [outcome.verdict for outcome in commit(committer, host)] == [Verdict.SKIPPED, Verdict.UNFINISHED]
    assert workspace.mark()["runs"] == 2
    assert [line["runs"] for line in workspace.lines()] == runs(host) == [1, 2]


def test_a_finish_that_is_still_there_is_read_again(host: Host, committer: Committer) -> None:
    """A report that came since it was seen is in its record: the file is the truth while it is there."""
    workspace = make(host.root)
    committer.look_ahead(host.candidate())
    workspace.write_report(REPORT)
    assert [outcome.verdict for outcome in commit(committer, host)] == [Verdict.COMMITTED]
    assert workspace.line()["findings"] == REPORT["findings"]


def test_a_finish_whose_workspace_goes_away_is_in_the_history(host: Host, committer: Committer) -> None:
    """Its row is written from what was read, the outcome says what is missing, and nothing is made on disk."""
    workspace = make(host.root, report=REPORT)
    committer.look_ahead(host.candidate())
    shutil.rmtree(workspace.path)
    (outcome,) = commit(committer, host)
    assert (outcome.verdict, outcome.is_gone) == (Verdict.COMMITTED, True)
    assert "no line and no marker" in outcome.warnings[0]
    assert host.rows()[NAME]["findings_count"] == 1
    assert not workspace.path.exists()
    (again,) = commit(committer, host)
    assert again.verdict is Verdict.VANISHED
    assert runs(host) == [0]


def test_a_finish_whose_status_alone_goes_away_has_all_three_records(host: Host, committer: Committer) -> None:
    """The workspace stands, so line and marker can be written, from what was read."""
    workspace = make(host.root, report=REPORT)
    committer.look_ahead(host.candidate())
    (workspace.meta / "status.json").unlink()
    assert [outcome.verdict for outcome in commit(committer, host)] == [Verdict.COMMITTED, Verdict.JOURNAL_ONLY]
    assert (runs(host), workspace.line()["runs"], workspace.mark()["runs"]) == ([0], 0, 0)
    assert host.rows()[NAME]["findings_count"] == 1


def test_a_finish_that_is_replaced_by_running_with_the_same_identity_is_committed(
    host: Host, committer: Committer
) -> None:
    """The dispatcher wrote neither a new time nor a new run: what was finished is not lost for that."""
    workspace = make(host.root, status="failed")
    committer.look_ahead(host.candidate())
    workspace.write_status(status="running")
    assert [outcome.verdict for outcome in commit(committer, host)] == [Verdict.COMMITTED, Verdict.UNFINISHED]
    assert (workspace.line()["status"], host.rows()[NAME]["status"]) == ("failed", "failed")


def test_ten_that_fail_alike_and_are_removed_are_ten(host: Host, committer: Committer) -> None:
    """One task, one second: within the settle time only the directory tells what was moved."""
    names = [f"org/repo/{number}" for number in range(10)]
    for name in names:
        make(host.root, name, status="failed")
        committer.look_ahead(host.candidate(name))
    for name in names:
        shutil.rmtree(host.root / name)
    committer.commit_group([host.candidate(name) for name in names])
    assert sorted(host.rows()) == names


def test_one_agent_cannot_take_the_room_of_what_others_finished(host: Host, committer: Committer) -> None:
    """Six workspaces that are held locked, with huge questions: the finish of another is kept, and theirs are named."""
    huge = [f"org/repo/huge-{number}" for number in range(6)]
    honest = make(host.root, status="failed", runs=1)
    with contextlib.ExitStack() as held:
        said = []
        for name in huge:
            workspace = make(host.root, name, question="x" * 900_000)
            held.enter_context(held_lock(workspace.meta))
            said += committer.look_ahead(host.candidate(name))
        said += committer.look_ahead(host.candidate())
        honest.write_status(status="running", runs=2, updated_at="2026-04-14T12:00:00Z")
        commit(committer, host)
    assert runs(host) == [1]
    assert {lost.name for lost in said} == set(huge)


def test_what_is_recorded_takes_no_room_from_what_is_not(host: Host, committer: Committer) -> None:
    """A whole root is looked at again (restored, or chmod -R): nothing can be lost of it, and nobody is told so."""
    for number in range(40):
        make(host.root, f"org/repo/old-{number}", question="x" * 60_000, report={"summary": "y" * 50_000})
    host.once()
    honest = make(host.root, "org/repo/new", runs=1)
    committer.look_ahead(host.candidate(honest.name))
    said = [lost for number in range(40) for lost in committer.look_ahead(host.candidate(f"org/repo/old-{number}"))]
    honest.write_status(status="running", runs=2, updated_at="2026-04-14T12:00:00Z")
    (host.root / honest.name / ".meta/status.json").touch()
    committer.commit_group([host.candidate(honest.name)])
    assert said == []
    assert honest.line()["runs"] == 1


def test_what_left_the_configuration_is_forgotten(host: Host, committer: Committer) -> None:
    """A root that is no longer named takes no room from the others, and nothing of it is recorded."""
    workspace = make(host.root)
    committer.look_ahead(host.candidate())
    (host.base / "other").mkdir()
    committer.use(Config(roots=(Root(str(host.base / "other")),), history=str(host.history)))
    shutil.rmtree(workspace.path)
    assert [outcome.verdict for outcome in commit(committer, host)] == [Verdict.VANISHED]


@pytest.mark.parametrize("runs_again", [True, False])
def test_a_finish_whose_root_goes_away_for_a_while_gets_its_line(
    host: Host, committer: Committer, runs_again: bool
) -> None:
    """Its row is there meanwhile; line and marker follow when the root is back, also when it runs again by then."""
    workspace = make(host.root)
    finish(workspace, 1)
    committer.look_ahead(host.candidate())
    host.root.rename(host.base / "away")
    assert [outcome.is_gone for outcome in commit(committer, host)] == [True]
    assert runs(host) == [1]
    (host.base / "away").rename(host.root)
    if runs_again:
        finish(workspace, 2, "running")
    commit(committer, host)
    assert [line["runs"] for line in workspace.lines()] == runs(host) == [1]
    assert workspace.mark()["runs"] == 1
    assert workspace.line()["committed_at"] == host.rows()[NAME]["committed_at"]
    verdicts = [outcome.verdict for outcome in commit(committer, host)]
    assert verdicts == [Verdict.UNFINISHED if runs_again else Verdict.SKIPPED]


@pytest.mark.parametrize("was_committed", [True, False])
def test_what_was_pruned_does_not_come_back_when_its_workspace_is_removed(
    host: Host, committer: Committer, was_committed: bool
) -> None:
    """It was seen once more while it was removed; its marker told that it was done. A new finish has none."""
    workspace = make(host.root)
    make(host.root, "org/repo/other", updated_at="2020-01-01T00:00:00Z")
    committer.commit_group([host.candidate("org/repo/other"), *([host.candidate()] if was_committed else [])])
    assert support.run([*host.arguments(), "prune", "--older-than", "1d"], host.base).returncode == 0
    committer.look_ahead(host.candidate())
    shutil.rmtree(workspace.path)
    commit(committer, host)
    assert runs(host) == ([] if was_committed else [0])


def test_the_finish_of_a_copied_template_is_recorded_though_the_original_was_pruned(
    host: Host, committer: Committer
) -> None:
    """Both have Go's zero time: the line beside the marker tells that it is another dispatch's. Then it is removed."""
    zero = "0001-01-01T00:00:00Z"
    original = make(host.root, "org/repo/template", updated_at=zero)
    committer.commit_group([host.candidate("org/repo/template")])
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("UPDATE about SET pruned_before = '2100-01-01T00:00:00.000000000Z'")
        connection.execute("DELETE FROM dispatch_history")
    shutil.copytree(original.path, host.root / NAME)
    Workspace(host.root, NAME).write_status(updated_at=zero, task="another")
    committer.look_ahead(host.candidate())
    shutil.rmtree(host.root / NAME)
    (outcome,) = commit(committer, host)
    assert outcome.verdict is Verdict.COMMITTED
    assert [row["workspace"] for row in host.query("SELECT workspace FROM dispatch_history")] == [NAME]


def test_what_is_committed_already_is_not_recorded_when_it_goes_away(host: Host, committer: Committer) -> None:
    """A committed workspace that was seen once more has vanished, and no more."""
    workspace = make(host.root)
    commit(committer, host)
    committer.look_ahead(host.candidate())
    shutil.rmtree(workspace.path)
    (outcome,) = commit(committer, host)
    assert outcome.verdict is Verdict.VANISHED


@pytest.mark.parametrize(("has_marker", "report_bytes"), [(True, 0), (False, 0), (False, 200_000)])
def test_what_was_committed_under_another_name_is_not_recorded_when_it_goes_away(
    host: Host, committer: Committer, has_marker: bool, report_bytes: int
) -> None:
    """It was moved, seen there, and removed: its marker or, without one, its journal tells where its row is."""
    workspace = make(host.root, report={"text": "x" * report_bytes})
    commit(committer, host)
    workspace.path.rename(host.root / "moved")
    if not has_marker:
        (host.root / "moved/.meta/commit.json").unlink()
    committer.look_ahead(host.candidate("moved"))
    shutil.rmtree(host.root / "moved")
    (outcome,) = committer.commit_group([host.candidate("moved")])
    assert outcome.verdict is Verdict.VANISHED
    assert [row["workspace"] for row in host.query("SELECT workspace FROM dispatch_history")] == [NAME]


def test_a_seen_finish_leaves_the_marker_of_the_one_that_is_there(host: Host, committer: Committer) -> None:
    """That was recorded under another name, and lost its journal: only its marker tells where its row is."""
    workspace = make(host.root)
    finish(workspace, 1)
    commit(committer, host)
    moved = Workspace(host.root, "moved")
    workspace.path.rename(moved.path)
    moved.journal.unlink()
    finish(moved, 2)
    committer.look_ahead(host.candidate("moved"))
    finish(moved, 1)
    verdicts = [outcome.verdict for outcome in committer.commit_group([host.candidate("moved")])]
    assert verdicts == [Verdict.COMMITTED, Verdict.SKIPPED]
    sql = "SELECT workspace, runs FROM dispatch_history ORDER BY runs"
    assert [tuple(row) for row in host.query(sql)] == [(NAME, 1), ("moved", 2)]
    assert ([line["runs"] for line in moved.lines()], moved.mark()["runs"]) == ([2], 1)


def test_a_seen_finish_waits_for_the_lock(host: Host, committer: Committer) -> None:
    """While somebody holds the workspace it is kept, whatever the status says by then."""
    workspace = make(host.root)
    finish(workspace, 1)
    committer.look_ahead(host.candidate())
    finish(workspace, 2, "running")
    with held_lock(workspace.meta):
        assert [outcome.verdict for outcome in commit(committer, host)] == [Verdict.BUSY]
    commit(committer, host)
    assert workspace.line()["runs"] == 1


def test_a_finish_that_is_gone_waits_for_the_history(host: Host, committer: Committer) -> None:
    """There is nothing else left of it: it is kept until the history can take it."""
    host.once()
    workspace = make(host.root)
    committer.look_ahead(host.candidate())
    shutil.rmtree(workspace.path)
    with write_locked(host.history):
        (outcome,) = commit(committer, host)
        assert outcome.verdict is Verdict.BUSY
    commit(committer, host)
    assert runs(host) == [0]


def test_what_is_kept_is_bounded(host: Host, committer: Committer) -> None:
    """A workspace that finishes without end makes a few records a settle time, and no more."""
    workspace = make(host.root)
    for run in range(1, 101):
        workspace.write_status(runs=run)
        committer.look_ahead(host.candidate())
    assert len(commit(committer, host)) == 9
    assert runs(host) == [*range(1, 9), 100]


def test_an_unfinished_or_broken_status_is_not_kept(host: Host, committer: Committer) -> None:
    """Nothing is committed from it when it goes away."""
    workspace = make(host.root, status="running")
    committer.look_ahead(host.candidate())
    (workspace.meta / "status.json").write_text("{")
    committer.look_ahead(host.candidate())
    shutil.rmtree(workspace.path)
    (outcome,) = commit(committer, host)
    assert outcome.verdict is Verdict.VANISHED


def test_the_daemon_records_a_failure_that_is_retried_at_once(host: Host) -> None:
    """Failed, and running again before it has come to rest."""
    workspace = make(host.root, status="running", runs=1)
    service = Service(host)
    service.settle_seconds = 3.0
    with service:
        service.wait(lambda: not service.state().pending)  # what it found at its start
        finish(workspace, 1)
        service.wait(lambda: bool(service.state().pending))
        finish(workspace, 2, "running")
        service.wait(lambda: runs(host) == [1])
        assert [line["runs"] for line in workspace.lines()] == [1]


def test_the_daemon_records_a_finish_that_is_removed_at_once(host: Host) -> None:
    """The dispatcher removes the workspace right after the finish: the row is there, and the log says what is not."""
    workspace = make(host.root, status="running")
    service = Service(host)
    service.settle_seconds = 3.0
    with service:
        service.wait(lambda: not service.state().pending)  # what it found at its start
        workspace.write_status()
        service.wait(lambda: bool(service.state().pending))
        shutil.rmtree(workspace.path)
        service.wait_log("no line and no marker")
        assert runs(host) == [0]


def test_a_moved_workspace_that_goes_away_is_not_recorded_again(host: Host, committer: Committer) -> None:
    """It was committed under its former name, and seen once under its new one before that was gone as well."""
    workspace = make(host.root, "org/repo/former")
    committer.commit_group([host.candidate("org/repo/former")])
    workspace.path.rename(host.root / NAME)
    committer.look_ahead(host.candidate())
    shutil.rmtree(host.root / NAME)
    (outcome,) = commit(committer, host)
    assert outcome.verdict is Verdict.VANISHED
    assert list(host.rows()) == ["org/repo/former"]


@pytest.mark.parametrize("first", ["org/repo/former", NAME])
def test_a_workspace_that_is_moved_before_it_is_committed_has_one_row(
    host: Host, committer: Committer, first: str
) -> None:
    """It was seen finished at both places, and is the same directory: whichever is due first, the new name counts."""
    workspace = make(host.root, "org/repo/former")
    committer.look_ahead(host.candidate("org/repo/former"))
    workspace.path.rename(host.root / NAME)
    committer.look_ahead(host.candidate())
    for name in sorted(["org/repo/former", NAME], key=lambda name: name != first):
        committer.commit_group([host.candidate(name)])
    assert list(host.rows()) == [NAME]
    assert [line["workspace"] for line in Workspace(host.root, NAME).lines()] == [NAME]


def test_a_copy_that_goes_away_is_recorded_once(host: Host, committer: Committer) -> None:
    """Its marker names the row that its dispatch has."""
    workspace = make(host.root, "org/repo/former")
    committer.commit_group([host.candidate("org/repo/former")])
    shutil.copytree(workspace.path, host.root / NAME)
    committer.look_ahead(host.candidate())
    shutil.rmtree(host.root / NAME)
    commit(committer, host)
    assert host.rows().keys() == {"org/repo/former"}


def test_the_daemon_takes_no_copy_for_a_finish_when_its_marker_came_after_its_status(host: Host) -> None:
    """`cp -a` writes the status first, and the copy is removed before it has come to rest: the row there is, is all."""
    former = make(host.root, "org/repo/former")
    host.once()
    service = Service(host)
    service.settle_seconds = 3.0
    with service:
        service.wait(lambda: not service.state().pending)  # what it found at its start
        meta = host.root / NAME / ".meta"
        meta.mkdir(parents=True)
        shutil.copy2(former.path / ".meta/status.json", meta / "status.json")
        service.wait(lambda: service.state().pending == 1)
        shutil.copy2(former.path / ".meta/commit.json", meta / "commit.json")
        make(host.root, "org/repo/witness")
        service.wait(lambda: service.state().pending == 2)
        shutil.rmtree(host.root / NAME)
        service.wait(lambda: not service.state().pending)
    assert host.rows().keys() == {"org/repo/former", "org/repo/witness"}
