"""`begin`, `finish` and `agentic_watch.dispatch`: a run written down from outside, twice, and from many at once."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest
from dispatch_support import clone, dispatch, git, only_report, only_status, statuses
from support import Host, Workspace, held_lock

from agentic_watch.dispatch import DispatchError, End, Overtaken, Uncommitted, Work, begin, dispatching, finish
from agentic_watch.workspace import instant


def test_begin_and_finish_are_a_dispatch(host: Host) -> None:
    """Two calls from a script make a row: begin prints the workspace, finish takes it."""
    place = clone(host.base / "clone")
    path = dispatch(host, "begin", "--task", "Nightly", "--agent", "cron", cwd=place).stdout.strip()
    assert only_status(host)["status"] == "running"
    (place / "kept.txt").write_text("one\n", "utf-8")
    result = dispatch(
        host, "finish", path, "--status", "failed", "--question", "no disk", "--pr", "http://pr", cwd=place
    )
    assert result.returncode == 0
    head = git(place, "rev-parse", "HEAD")
    changes = {"files_changed": 1, "insertions": 0, "deletions": 2, "files": ["kept.txt"]}
    assert only_report(host) == {"passed": False, "changes": changes, "commits": {"start": head, "end": head}}
    host.once()
    (row,) = host.rows().values()
    assert (row["status"], row["question"], row["pr_url"], row["repo"]) == ("failed", "no disk", "http://pr", "billing")


def test_both_may_be_called_twice(host: Host) -> None:
    """The second begin goes on with the run, the second finish changes not a byte."""
    first = json.loads(dispatch(host, "begin", "--workspace", "w", "--json").stdout)
    second = json.loads(dispatch(host, "begin", "--workspace", "w", "--json").stdout)
    assert (first["begun"], second["begun"]) == (True, False)
    assert first["runs"] == second["runs"] == 1
    blocked = ["finish", "w", "--status", "blocked", "--json"]
    assert [json.loads(dispatch(host, *blocked).stdout)["written"] for _ in range(2)] == [True, False]
    junit = host.base / "j.xml"
    junit.write_text("<testsuite><testcase name='t'/></testsuite>", "utf-8")
    reported = [*blocked, "--report", str(junit)]
    assert [json.loads(dispatch(host, *reported).stdout)["written"] for _ in range(2)] == [True, False]
    host.once()
    rows = host.query("SELECT status, test_passed FROM dispatch_history ORDER BY id")
    assert [tuple(row) for row in rows] == [("blocked", None), ("blocked", 1)]


def test_global_options_go_after_the_words_too(host: Host) -> None:
    """`--root` and `-q` are taken after begin and finish as they are before."""
    other = host.base / "other"
    path = dispatch(host, "begin", "--root", str(other), "--workspace", f"{other}/w").stdout.strip()
    assert path == f"{other}/w"
    assert dispatch(host, "finish", path, "-q", "--root", str(other)).stderr == ""


def test_finish_reads_what_a_program_knows_from_stdin(host: Host) -> None:
    """Status, question, pull request and report come as one JSON object; wrong keys and types are usage."""
    dispatch(host, "begin", "--workspace", "w")
    document = {"status": "ready-for-review", "pr_url": "http://pr", "report": {"test_passed": True}}
    assert dispatch(host, "finish", "w", "--stdin", stdin=json.dumps(document)).returncode == 0
    assert (only_status(host)["status"], only_status(host)["pr_url"]) == ("ready-for-review", "http://pr")
    assert only_report(host) == {"passed": True, "test_passed": True}
    nothing = ('{"report": {"x": NaN}}', '{"question": "\\ud800"}', '{"report": {"x": ' + "[" * 900 + "]" * 900 + "}}")
    for text in ("{", "[]", '{"state": "x"}', '{"report": 1}', '{"status": 1}', *nothing):
        result = dispatch(host, "finish", "w", "--stdin", stdin=text)
        assert (result.returncode, result.stdout) == (2, "")


def test_a_later_status_of_the_same_run_is_a_commit_of_its_own(host: Host) -> None:
    """Completed, later merged: both are in the history, and `--unless-finished` lets the first word stand."""
    dispatch(host, "begin", "--workspace", "w")
    dispatch(host, "finish", "w")
    assert dispatch(host, "finish", "w", "--status", "failed", "--unless-finished").stdout.endswith(
        "already finished, run 1\n"
    )
    dispatch(host, "finish", "w", "--status", "merged")
    host.once()
    rows = host.query("SELECT status, runs FROM dispatch_history ORDER BY id")
    assert [tuple(row) for row in rows] == [("completed", 1), ("merged", 1)]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["finish"], 2, "which workspace?"),
        (["finish", "nowhere"], 1, "not found below any root"),
        (["finish", "empty"], 1, "no run was begun there"),
        (["finish", "w", "--status", "running"], 1, "is not a final status"),
        (["begin", "--workspace", "broken"], 1, "is not JSON"),
    ],
)
def test_what_cannot_be_is_one_line(host: Host, arguments: list[str], code: int, says: str) -> None:
    """Each with the path, the cause and an exit status; a status that cannot be read is not written over."""
    (host.root / "empty").mkdir()
    (host.root / "broken/.meta").mkdir(parents=True)
    (host.root / "broken/.meta/status.json").write_text("{", "utf-8")
    dispatch(host, "begin", "--workspace", "w")
    result = dispatch(host, *arguments)
    assert result.returncode == code
    assert says in result.stderr
    assert (host.root / "broken/.meta/status.json").read_text("utf-8") == "{"


def test_the_three_functions_of_the_library(tmp_path: Path) -> None:
    """A dispatcher in Python begins and finishes, or puts a block between; what raises is a failed dispatch."""
    root = str(tmp_path / "root")
    run = begin(root, Work(task="One", agent="mine:v2", issue=7))
    assert run.begun
    assert finish(run, End("ready-for-review", pr_url="http://pr", report={"passed": True}))
    assert not finish(run, End("ready-for-review", pr_url="http://pr", report={"passed": True}))
    with dispatching(root, Work(task="Two")) as second:
        assert Path(second.path, ".meta/status.json").exists()
    with pytest.raises(ValueError, match="seven"), dispatching(root, Work(task="Three")):
        raise ValueError("seven")
    found = {status["task"]: status for status in map(_status, Path(root).rglob("status.json"))}
    assert [found[task]["status"] for task in ("One", "Two", "Three")] == ["ready-for-review", "completed", "failed"]
    assert found["Three"]["question"] == "ValueError: seven"


def _status(path: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads(path.read_bytes())
    return document


def test_a_finished_run_that_nobody_committed_is_not_written_over(host: Host) -> None:
    """A library cannot commit: it refuses until somebody has, and then goes on with run two."""
    run = begin(str(host.root), Work(), "w")
    finish(run, End())
    with pytest.raises(Uncommitted):
        begin(str(host.root), Work(), "w")
    with pytest.raises(Uncommitted):
        finish(run, End("merged"))
    host.once()
    second = begin(str(host.root), Work(), "w")
    assert second.runs == 2
    with pytest.raises(Overtaken):
        finish(run, End("merged"))
    with pytest.raises(DispatchError):
        finish(second, End("queued"))


def test_time_never_goes_back_in_a_workspace(host: Host) -> None:
    """Where the clock went back, the next status is a nanosecond after the former: the newer one counts."""
    workspace = Workspace(host.root, "w")
    workspace.write_status(status="running", updated_at="2999-01-01T00:00:00.999999999+02:00", runs=3)
    run = begin(str(host.root), Work(), "w")
    assert not run.begun
    finish(run, End())
    text = statuses(host)["w"]["updated_at"]
    assert text == "2998-12-31T22:00:01Z"
    assert instant.parse(text).utc() == "2998-12-31T22:00:01.000000000Z"


def test_a_commits_lock_holds_up_no_status(host: Host) -> None:
    """The committer locks `.meta`; who writes a status has a lock of its own."""
    run = begin(str(host.root), Work(), "w")
    with held_lock(host.root / "w/.meta"):
        finish(run, End())
    assert statuses(host)["w"]["status"] == "completed"


def _begin(root: str, name: str) -> tuple[int, bool, str]:
    run = begin(root, Work(task="same"), name)
    return run.runs, run.begun, run.name


def _finish(root: str, status: str) -> bool:
    run = begin(root, Work(), "w")
    return finish(run, End(status), unless_finished=True)


def _together(function: Callable[..., object], arguments: list[tuple[str, str]]) -> list[object]:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        return pool.starmap(function, arguments, chunksize=1)


def test_many_begin_and_finish_at_once(host: Host) -> None:
    """Of many that begin in one workspace just one begins the run, of many that finish just one writes; new
    workspaces of one task in one second are all different."""
    root = str(host.root)
    begun = _together(_begin, [(root, "w")] * 24)
    assert sorted(begun) == sorted([(1, False, "w")] * 23 + [(1, True, "w")])
    made = _together(_begin, [(root, "")] * 24)
    assert len({name for _, _, name in made}) == 24
    assert all(was_begun for _, was_begun, _ in made)
    run = begin(root, Work(), "w")
    assert finish(run, End("failed"))
    assert statuses(host)["w"]["runs"] == 1
    assert list(host.root.rglob("*.tmp")) == []


def test_a_byte_order_mark_is_passed_over(host: Host) -> None:
    """In what stdin says, in the status, the report and the journal, as editors of another system write them."""
    mark = b"\xef\xbb\xbf"
    dispatch(host, "begin", "--workspace", "w")
    text = mark.decode() + '{"status": "blocked", "question": null, "pr_url": null, "report": {"test_passed": true}}'
    assert dispatch(host, "finish", "w", "--stdin", stdin=text).returncode == 0
    assert only_status(host)["status"] == "blocked"
    for name in ("status.json", "report.json"):
        path = host.root / "w/.meta" / name
        path.write_bytes(mark + path.read_bytes())
    host.once()
    journal = host.root / "w/.meta/journal.jsonl"
    journal.write_bytes(mark + journal.read_bytes())
    host.forget_history()
    assert host.once().counts["recovered_rows"] == 1
    rows = host.query("SELECT status, question, test_passed FROM dispatch_history")
    assert [tuple(row) for row in rows] == [("blocked", "", 1)]
