"""The commit: what is missing is decided, written in order, once, whatever was there before."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from support import (
    JOURNAL_KEYS,
    UPDATED,
    Host,
    Workspace,
    finished,
    held_lock,
    make,
    snapshot,
    wait_for,
    workspaces,
    write_marker,
)

from agentic_watch.commit.committer import Committer
from agentic_watch.commit.judging import Plan, decide
from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.history import rows
from agentic_watch.history.store import History
from agentic_watch.workspace import signatures
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.journal import Journal

NAME = "org/repo/task"
ROW, LINE, NOW = "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z", "2026-01-01T00:00:03Z"


@pytest.mark.parametrize(
    ("marked", "row", "line", "plan"),
    [
        (True, ROW, LINE, Plan(append=False, insert=False, mark=False, committed_at=ROW)),
        (True, ROW, None, Plan(append=False, insert=False, mark=False, committed_at=ROW)),
        (True, None, LINE, Plan(append=False, insert=True, mark=False, committed_at=LINE)),
        (True, None, None, Plan(append=True, insert=True, mark=True, committed_at=NOW)),
        (False, ROW, LINE, Plan(append=False, insert=False, mark=True, committed_at=LINE)),
        (False, ROW, None, Plan(append=True, insert=False, mark=True, committed_at=ROW)),
        (False, None, LINE, Plan(append=False, insert=True, mark=True, committed_at=LINE)),
        (False, None, None, Plan(append=True, insert=True, mark=True, committed_at=NOW)),
    ],
)
def test_what_is_missing_is_decided(marked: bool, row: str | None, line: str | None, plan: Plan) -> None:
    """Each of the eight states of marker, row and line has its plan, and its committed_at."""
    assert decide(marked, row, line, NOW) == plan
    assert plan.nothing == (marked and row is not None)


@contextlib.contextmanager
def committer(host: Host, **root_options: Any) -> Iterator[Committer]:
    """A committer with a history of its own."""
    with (
        contextlib.closing(History(str(host.history))) as history,
        contextlib.closing(Committer(host.config(**root_options), history)) as made,
    ):
        yield made


def commit(host: Host, *names: str, force: bool = False) -> list[Outcome]:
    """Commit workspaces by name in one group, in a committer of their own."""
    with committer(host) as made:
        return made.commit_group([host.candidate(name) for name in names or (NAME,)], force=force)


def verdicts(host: Host, *names: str, force: bool = False) -> list[Verdict]:
    """The verdicts alone."""
    return [outcome.verdict for outcome in commit(host, *names, force=force)]


def identities(host: Host) -> list[tuple[str, int]]:
    """(updated_utc, runs) of every row, oldest commit first."""
    return [tuple(row) for row in host.query("SELECT updated_utc, runs FROM dispatch_history ORDER BY id")]


# --- the line is what the original writes


def test_our_lines_are_the_originals_lines(tmp_path: Path) -> None:
    """What the original committed, committed anew by us, gives its lines and markers but for committed_at."""
    host = Host.make(tmp_path, "committed")
    theirs = [workspace for workspace in workspaces(host.root) if workspace.marker.exists()]
    lines = {workspace.name: workspace.journal.read_bytes() for workspace in theirs}
    markers = {workspace.name: workspace.mark() for workspace in theirs}
    for workspace in theirs:
        workspace.journal.unlink()
        workspace.marker.unlink()
    assert host.once().counts["committed"] == len(finished(host.root))
    for workspace in theirs:
        ours = workspace.journal.read_bytes()
        now, then = workspace.line()["committed_at"], json.loads(lines[workspace.name])["committed_at"]
        same = ours.replace(now.encode(), then.encode())
        assert json.loads(same, object_pairs_hook=list) == json.loads(lines[workspace.name], object_pairs_hook=list)
        for raw, escaped in ((b"<", b"\\u003c"), (b">", b"\\u003e"), (b"&", b"\\u0026")):
            same = same.replace(raw, escaped)  # Go escapes these three, which is the same JSON
        assert same == lines[workspace.name]
        assert list(workspace.mark()) == ["workspace", "updated_at", "runs", "committed_at"]
        assert workspace.mark() == {**markers[workspace.name], "committed_at": now}


def test_every_line_of_the_fixtures_has_the_form(tmp_path: Path) -> None:
    """Sorted keys, all of the fifteen, no spaces, UTF-8, one newline; committed_at in whole seconds of UTC."""
    for tree in ("meta", "root"):
        host = Host.make(tmp_path / tree, tree)
        host.once()
        for workspace in finished(host.root):
            raw, line = workspace.journal.read_bytes(), workspace.line()
            assert raw == (json.dumps(line, ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n").encode()
            assert [key for key in line if key not in ("report", "findings", "changes")] == JOURNAL_KEYS
            assert len(line["committed_at"]) == len("2026-04-14T11:17:08Z")


# --- identity


def test_two_spellings_of_one_instant_are_one_commit(host: Host) -> None:
    """A status rewritten with another offset is the same commit; marker and journal keep their text."""
    workspace = make(host.root, updated_at="2026-04-14T11:17:08.500+02:00")
    assert verdicts(host) == [Verdict.COMMITTED]
    before = workspace.journal.read_bytes(), workspace.marker.read_bytes()
    workspace.write_status(updated_at="2026-04-14T03:47:08.500000000-05:30")
    assert verdicts(host) == [Verdict.SKIPPED]
    assert (workspace.journal.read_bytes(), workspace.marker.read_bytes()) == before
    assert len(host.rows()) == 1


def test_a_marker_in_another_offset_is_the_same_commit(host: Host) -> None:
    """A marker and a line of another program in another offset vouch for the instant, not for its text."""
    workspace = make(host.root, updated_at="2026-04-14T11:17:08Z")
    commit(host)
    line = workspace.journal.read_text().replace("2026-04-14T11:17:08Z", "2026-04-14T13:17:08+02:00")
    workspace.journal.write_text(line)
    write_marker(workspace, "2026-04-14T13:17:08+02:00")
    host.forget_history()
    assert verdicts(host) == [Verdict.SKIPPED]
    assert workspace.journal.read_text() == line
    assert identities(host) == [("2026-04-14T11:17:08.000000000Z", 0)]


def test_a_nanosecond_and_a_run_make_another_commit(host: Host) -> None:
    """One nanosecond later, and one run more, are commits of their own, in the order of their lines."""
    workspace = make(host.root, updated_at="2026-04-14T11:17:08.123456789Z")
    commit(host)
    workspace.write_status(updated_at="2026-04-14T11:17:08.123456790Z")
    commit(host)
    workspace.write_status(updated_at="2026-04-14T11:17:08.123456790Z", runs=1)
    assert verdicts(host) == [Verdict.COMMITTED]
    expected = [
        ("2026-04-14T11:17:08.123456789Z", 0),
        ("2026-04-14T11:17:08.123456790Z", 0),
        ("2026-04-14T11:17:08.123456790Z", 1),
    ]
    assert identities(host) == expected
    assert [(line["updated_at"], line["runs"]) for line in workspace.lines()] == expected
    assert (workspace.mark()["updated_at"], workspace.mark()["runs"]) == expected[-1]


def test_missing_runs_are_0(host: Host) -> None:
    """A status without runs and one with 0 are the same commit."""
    workspace = make(host.root)
    commit(host)
    workspace.write_status(runs=0)
    assert verdicts(host) == [Verdict.SKIPPED]
    workspace.write_status(runs=None)
    assert verdicts(host) == [Verdict.SKIPPED]


def test_gos_zero_time_is_an_identity_too(host: Host) -> None:
    """A finished status whose updated_at was never set is committed once, under the zero time."""
    workspace = make(host.root, updated_at="0001-01-01T00:00:00Z", started_at="0001-01-01T00:00:00Z")
    assert verdicts(host) == [Verdict.COMMITTED]
    assert verdicts(host) == [Verdict.SKIPPED]
    row = host.rows()[NAME]
    assert (row["updated_utc"], row["started_utc"], row["duration_ms"]) == (
        "0001-01-01T00:00:00.000000000Z",
        None,
        None,
    )
    assert workspace.line()["updated_at"] == "0001-01-01T00:00:00Z"


def test_an_older_status_that_was_committed_comes_back(host: Host) -> None:
    """A status that goes back to a committed identity gets its marker again, and neither line nor row."""
    workspace = make(host.root, updated_at="2026-04-14T11:17:08Z", runs=1)
    commit(host)
    first = workspace.mark()
    workspace.write_status(updated_at="2026-04-15T11:17:08Z", runs=2)
    commit(host)
    workspace.write_status(updated_at="2026-04-14T11:17:08Z", runs=1)
    commit(host)
    assert len(workspace.lines()) == len(identities(host)) == 2
    assert workspace.mark() == first


# --- what was there before


@pytest.mark.parametrize("lost", [set(each) for n in range(4) for each in combinations(("row", "line", "marker"), n)])
def test_every_partial_state_is_completed(host: Host, lost: set[str]) -> None:
    """Whichever of row, line and marker is lost, the next commit leaves them in agreement, at the time they had."""
    workspace = make(host.root)
    commit(host)
    workspace.journal.write_bytes(
        workspace.journal.read_bytes().replace(workspace.line()["committed_at"].encode(), ROW.encode())
    )
    write_marker(workspace, committed_at=ROW)
    with contextlib.closing(History(str(host.history))) as history, history.transaction() as connection:
        connection.execute("UPDATE dispatch_history SET committed_at = ?", (ROW,))
        if "row" in lost:
            connection.execute("DELETE FROM dispatch_history")
    if "line" in lost:
        workspace.journal.unlink()
    if "marker" in lost:
        workspace.marker.unlink()
    (outcome,) = commit(host)
    # Row and line are both gone: nothing vouches for the old commit any more, so it is made anew.
    anew = {"row", "line"} <= lost
    assert (outcome.committed_at == ROW) == (not anew)
    is_new = anew or ("marker" in lost and lost != {"marker"})
    assert outcome.verdict is (Verdict.COMMITTED if is_new else Verdict.SKIPPED)
    times = {host.rows()[NAME]["committed_at"], workspace.mark()["committed_at"]}
    if lost != {"line"}:  # marker and row vouch for the commit without it
        times.add(workspace.line()["committed_at"])
    assert times == {outcome.committed_at}


def test_a_forged_marker_counts_as_none(host: Host) -> None:
    """A marker with the right identity that neither row nor line confirms keeps nothing back."""
    workspace = make(host.root)
    write_marker(workspace)
    assert verdicts(host) == [Verdict.COMMITTED]
    assert workspace.line()["updated_at"] == UPDATED
    assert host.rows().keys() == {NAME}


def test_a_marker_of_another_workspace_counts_as_none(host: Host) -> None:
    """A marker copied from a sibling is replaced by the workspace's own."""
    workspace = make(host.root)
    commit(host)
    write_marker(workspace, workspace="org/repo/other")
    assert verdicts(host) == [Verdict.SKIPPED]  # there is neither a new line nor a new row
    assert workspace.mark()["workspace"] == NAME
    assert len(workspace.lines()) == 1


@pytest.mark.parametrize("kind", ["garbage", "symlink", "directory"])
def test_an_unreadable_marker_is_moved_aside_and_judged_by_the_journal(host: Host, kind: str) -> None:
    """The workspace keeps its one line and gets a marker; what stood there is kept under a dated name."""
    workspace = make(host.root)
    commit(host)
    committed_at = workspace.line()["committed_at"]
    workspace.marker.unlink()
    if kind == "garbage":
        workspace.marker.write_bytes(b"\0" * 100)
    elif kind == "symlink":
        workspace.marker.symlink_to("/etc/passwd")
    else:
        workspace.marker.mkdir()
    host.forget_history()
    (outcome,) = commit(host)
    assert outcome.verdict is Verdict.COMMITTED
    (aside,) = workspace.meta.glob("commit.json.corrupt-*")
    assert any(aside.name in warning for warning in outcome.warnings)
    assert (len(workspace.lines()), workspace.mark()["committed_at"]) == (1, committed_at)
    assert os.path.lexists(aside)


def test_foreign_lines_are_reported_and_not_inserted(host: Host) -> None:
    """Lines that name another workspace make no row; the workspace's own lines do."""
    workspace = make(host.root, runs=3)
    own = {**json.loads(_line(host)), "runs": 1}
    foreign = {**own, "workspace": "org/repo/other", "runs": 2}
    workspace.meta.mkdir(exist_ok=True)
    workspace.journal.write_text("".join(json.dumps(line) + "\n" for line in (own, foreign, foreign)))
    (outcome,) = commit(host)
    assert outcome.recovered_rows == 1
    assert [warning for warning in outcome.warnings if "2 lines name another workspace" in warning]
    assert sorted(runs for _, runs in identities(host)) == [1, 3]
    assert len(workspace.lines()) == 4


def _line(host: Host) -> str:
    """A line that another program could have written for NAME."""
    fields = dict.fromkeys(JOURNAL_KEYS, "") | {"issue": 0, "runs": 0}
    times = {"started_at": "0001-01-01T00:00:00Z", "updated_at": UPDATED, "committed_at": ROW}
    return json.dumps({**fields, **times, "status": "completed", "workspace": NAME})


def test_an_unfinished_workspace_recovers_its_earlier_commits(host: Host) -> None:
    """A workspace that runs again has its old lines in the history, and nothing of it is written."""
    workspace = make(host.root)
    commit(host)
    workspace.write_status(status="running", updated_at="2026-05-01T00:00:00Z", runs=1)
    host.forget_history()
    before = snapshot(host.root)
    (outcome,) = commit(host)
    assert (outcome.verdict, outcome.recovered_rows) == (Verdict.UNFINISHED, 1)
    assert identities(host) == [("2026-04-14T09:17:08.123456789Z", 0)]
    assert snapshot(host.root) == before


def test_what_the_original_does_meanwhile_is_seen_by_the_next_look(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """The original commits run 2 while we append run 1: no line is doubled, each has its row, the marker says run 2."""
    workspace = make(host.root, updated_at="2026-04-14T11:00:00Z", runs=1)
    commit(host)
    workspace.write_status(updated_at="2026-04-14T12:00:00Z", runs=2)
    append: Any = Journal.append

    def overtaken(journal: Journal, line: bytes) -> None:
        monkeypatch.setattr(Journal, "append", append)
        theirs = {**workspace.lines()[0], "updated_at": "2026-04-14T13:00:00Z", "runs": 3}
        with workspace.journal.open("a") as file:
            file.write(json.dumps(theirs) + "\n")
        append(journal, line)
        workspace.write_status(updated_at="2026-04-14T13:00:00Z", runs=3)

    monkeypatch.setattr(Journal, "append", overtaken)
    assert host.once_here().committed == 1
    host.once()
    assert sorted(line["runs"] for line in workspace.lines()) == [1, 2, 3]
    assert sorted(runs for _, runs in identities(host)) == [1, 2, 3]
    assert workspace.mark()["runs"] == 3


# --- the same identity, with other content


OTHERWISE = ["status", "task", "question"]


@pytest.mark.parametrize("field", OTHERWISE)
def test_a_workspace_made_again_with_other_content_is_said_and_not_recorded(host: Host, field: str) -> None:
    """Removed and made anew under a committed identity: nothing is written, and one warning tells why."""
    workspace = make(host.root, task="first")
    commit(host)
    before = [tuple(row) for row in host.query("SELECT * FROM dispatch_history")]
    shutil.rmtree(workspace.path)
    make(host.root, **{"task": "first", field: "failed"})
    (outcome,) = commit(host)
    assert outcome.verdict is Verdict.SKIPPED
    (warning,) = outcome.warnings
    assert "differs from what was recorded" in warning
    assert [path.name for path in workspace.meta.iterdir()] == ["status.json"]
    assert [tuple(row) for row in host.query("SELECT * FROM dispatch_history")] == before


@pytest.mark.parametrize("field", OTHERWISE)
def test_a_status_changed_under_its_identity_is_said_and_not_recorded(host: Host, field: str) -> None:
    """A committed status that is rewritten without a new time changes no record, and is said once."""
    workspace = make(host.root)
    host.once()
    before = workspace.journal.read_bytes(), workspace.marker.read_bytes(), dict(host.rows()[NAME])
    workspace.write_status(**{field: "failed"})
    # Sooner a write may not show in the file's time: the second run would look again, and say it again.
    wait_for(lambda: signatures.is_settled((workspace.meta / "status.json").stat(), time.time_ns()))
    first, second = host.once(), host.once()
    assert first.counts == second.counts == {"scanned": 1, "skipped": 1}
    assert (first.code, "differs from what was recorded" in first.stderr, second.stderr) == (0, True, "")
    assert (workspace.journal.read_bytes(), workspace.marker.read_bytes(), dict(host.rows()[NAME])) == before


def test_a_workspace_made_again_as_it_was_gets_its_records_back(host: Host) -> None:
    """With the same content line and marker come back, at the time that they had."""
    workspace = make(host.root, task="first")
    commit(host)
    committed_at = host.rows()[NAME]["committed_at"]
    shutil.rmtree(workspace.path)
    make(host.root, task="first")
    (outcome,) = commit(host)
    assert (outcome.verdict, outcome.warnings) == (Verdict.COMMITTED, ())
    assert workspace.line()["committed_at"] == workspace.mark()["committed_at"] == committed_at
    assert len(identities(host)) == 1


# --- statuses, reports, groups


@pytest.mark.parametrize("status", ["completed", "merged", "ready-for-review", "failed", "blocked", "rejected"])
def test_finished_statuses_are_committed(host: Host, status: str) -> None:
    """Each status of the default set makes a commit that says it."""
    workspace = make(host.root, status=status)
    assert verdicts(host) == [Verdict.COMMITTED]
    assert workspace.line()["status"] == host.rows()[NAME]["status"] == status


@pytest.mark.parametrize("status", ["queued", "running", "Completed", "paused"])
def test_other_statuses_are_not_unless_forced(host: Host, status: str) -> None:
    """Any other status changes nothing on disk; with force it is committed as it is."""
    workspace = make(host.root, status=status)
    before = snapshot(host.root)
    assert verdicts(host) == [Verdict.UNFINISHED]
    assert snapshot(host.root) == before
    assert verdicts(host, force=True) == [Verdict.COMMITTED]
    assert workspace.line()["status"] == status


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"x" * (9 << 20)], ids=["torn", "list", "bytes", "9 MiB"])
def test_a_broken_report_costs_only_the_report(host: Host, content: bytes) -> None:
    """The dispatch is committed without a report that cannot be used, and a warning names it."""
    workspace = make(host.root)
    (workspace.meta / "report.json").write_bytes(content)
    (outcome,) = commit(host)
    assert outcome.verdict is Verdict.COMMITTED
    assert [warning for warning in outcome.warnings if ".meta/report.json" in warning]
    assert list(workspace.line()) == JOURNAL_KEYS
    assert host.rows()[NAME]["report"] is None


@pytest.mark.parametrize("text", ["\\u002c" * 800_000, "\\u005b\\u007b" * 400_000], ids=["commas", "brackets"])
def test_what_is_written_can_be_read_again(host: Host, text: str) -> None:
    """A report whose text takes many escapes is in the line, and a lost history gets it back from there."""
    workspace = make(host.root)
    (workspace.meta / "report.json").write_text(f'{{"summary":"{text}"}}')
    (outcome,) = commit(host)
    assert outcome.warnings == ()
    before = dict(host.rows()[NAME]) | {"id": 0}
    host.forget_history()
    assert verdicts(host) == [Verdict.SKIPPED]
    assert dict(host.rows()[NAME]) | {"id": 0} == before
    assert json.loads(before["report"])["summary"] == json.loads(f'"{text}"')
    assert len(workspace.lines()) == 1


def test_status_json_is_never_touched(host: Host) -> None:
    """Over commits, skips and failures the dispatcher's file keeps inode, content and mtime."""
    made = [make(host.root, f"a/b/{layout}", layout) for layout in ("meta", "root")]
    files = [(made[0].meta / "status.json"), (made[1].path / "status.json")]
    before = [(file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes()) for file in files]
    for _ in range(2):
        commit(host, *(workspace.name for workspace in made))
    assert [(file.stat().st_ino, file.stat().st_mtime_ns, file.read_bytes()) for file in files] == before


def test_one_failing_workspace_stops_no_other_of_its_group(host: Host) -> None:
    """In one group the sound ones are committed beside a broken, a held, a planted and a vanished one."""
    names = [f"a/b/{number}" for number in range(7)]
    made = {name: make(host.root, name) for name in names}
    (made[names[1]].meta / "status.json").write_text("{")
    made[names[2]].journal.symlink_to("/etc/passwd")
    shutil.rmtree(made[names[3]].path)
    with held_lock(made[names[4]].meta):
        outcomes = commit(host, *names)
    # Those with nothing to write come first; the candidate tells which is which.
    by_name = {outcome.candidate.name: outcome for outcome in outcomes}
    assert [by_name[name].verdict.value for name in names] == [
        "committed",
        "failed",
        "failed",
        "vanished",
        "busy",
        "committed",
        "committed",
    ]
    assert all(by_name[name].cause for name in names[1:5])
    assert host.rows().keys() == {names[0], names[5], names[6]}


def test_a_line_that_cannot_be_synced_while_its_row_is_made_gets_none(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails between the making of the row and the end of its transaction: the next try commits both."""
    make(host.root)
    made, failed = threading.Event(), threading.Event()
    from_record, fsync, take_back = rows.from_record, os.fsync, Journal.take_back

    def made_first(*given: Any) -> rows.Row:
        row = from_record(*given)
        made.set()
        assert failed.wait(30.0)
        return row

    def fails(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("journal.jsonl") and not failed.is_set():
            assert made.wait(30.0)
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    def noted(journal: Journal) -> None:
        failed.set()
        take_back(journal)

    with monkeypatch.context() as patched:
        patched.setattr(rows, "from_record", made_first)
        patched.setattr(os, "fsync", fails)
        patched.setattr(Journal, "take_back", noted)
        with committer(host) as commits:
            assert commits.commit(host.candidate()).verdict is Verdict.FAILED
    assert host.rows() == {}
    host.once()
    assert len(host.rows()) == len(Workspace(host.root, NAME).lines()) == 1


def test_a_workspace_removed_while_its_group_is_prepared_costs_no_other(host: Host) -> None:
    """A workspace that goes away under the committer's hands ends as one outcome."""
    names = [f"a/b/{number}" for number in range(4)]
    for name in names:
        make(host.root, name)

    def candidates() -> Iterator[Candidate]:
        for name in names:
            yield host.candidate(name)
        shutil.rmtree(host.root / names[0])
        shutil.rmtree(host.root / names[2] / ".meta")

    with committer(host) as made:
        outcomes = {outcome.candidate.name: outcome for outcome in made.commit_group(candidates())}
    assert outcomes.keys() == set(names)
    assert all(outcomes[name].verdict is Verdict.COMMITTED for name in (names[1], names[3]))
    assert all(outcomes[name].verdict in (Verdict.FAILED, Verdict.VANISHED) for name in (names[0], names[2]))


def test_a_named_root_may_move(tmp_path: Path) -> None:
    """The rows of a root with a name keep their key when the root lies elsewhere."""
    host = Host.make(tmp_path)
    make(host.root)
    with committer(host, name="agents") as made:
        assert made.commit(Candidate(made.config.roots[0], NAME)).verdict is Verdict.COMMITTED
    host.root.rename(tmp_path / "moved")
    moved = Host(tmp_path, tmp_path / "moved", host.history)
    with committer(moved, name="agents") as made:
        assert made.commit(Candidate(made.config.roots[0], NAME)).verdict is Verdict.SKIPPED
    assert host.rows()[NAME]["root"] == "agents"


def test_judging_changes_nothing(host: Host) -> None:
    """judge() gives commit()'s verdict and leaves every byte."""
    done, fresh, running = make(host.root, "a/b/1"), make(host.root, "a/b/2", "root"), make(host.root, "a/b/3")
    running.write_status(status="running")
    commit(host, done.name)
    before = snapshot(host.root)
    with committer(host) as made:
        judged = [made.judge(host.candidate(workspace.name)).verdict for workspace in (done, fresh, running)]
    assert snapshot(host.root) == before
    assert judged == [Verdict.SKIPPED, Verdict.COMMITTED, Verdict.UNFINISHED]
    assert not fresh.meta.exists()


def test_what_a_killed_run_left_goes_also_when_nothing_is_committed(host: Host) -> None:
    """A temporary marker is removed by the next look, whatever the status says by then."""
    workspace = make(host.root, status="running")
    left = workspace.meta / ".commit.json.0123456789abcdef.tmp"
    left.write_text("{")
    assert host.once().counts == {"scanned": 1, "unfinished": 1}
    assert not left.exists()
