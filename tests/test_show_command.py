"""`agentic-watch show`: one dispatch whole, and step by step why it is committed, or why it is not."""

import json
import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
from support import Host, Workspace, held_lock, make, run, snapshot, write_marker
from unprivileged import public_directory, run_as_nobody

from agentic_watch.daemon.single_instance import Instance

REPORT = {
    "passed": False,
    "build_passed": True,
    "findings": [{"tool": "gosec", "severity": "warning", "file": "a.go", "line": 3, "code": "G304", "message": "x"}],
    "changes": {"files_changed": 2, "insertions": 30, "deletions": 4},
}


def show(host: Host, given: str, *options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    result = run([*host.arguments(), "show", *options, given], host.base)
    assert result.returncode == code, result.stderr
    return result


def document(host: Host, given: str = "org/repo/task") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(show(host, given, "--json").stdout)
    return found


def on_disk(host: Host, given: str = "org/repo/task") -> dict[str, Any]:
    found: dict[str, Any] = document(host, given)["on_disk"]
    return found


def steps(host: Host) -> dict[str, bool | None]:
    return {step["step"]: step["holds"] for step in on_disk(host)["steps"]}


def says(host: Host, step: str) -> str:
    (text,) = [found["says"] for found in on_disk(host)["steps"] if found["step"] == step]
    return str(text)


def ended_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_committed_dispatch_is_told_whole(host: Host) -> None:
    """The newest commit with its findings, all commits oldest first, and each record that stands for it."""
    workspace = make(host.root, status="failed", agent="codex:gpt-5", runs=1, started_at="2026-04-14T09:00:00Z")
    host.once()
    workspace.write_status(updated_at="2026-04-14T12:00:00Z", runs=2, status="completed", question="ok?")
    workspace.write_report(REPORT)
    host.once()
    found = document(host)
    assert (found["schema"], found["root"], found["workspace"]) == (2, str(host.root), workspace.name)
    assert [(commit["runs"], commit["status"]) for commit in found["commits"]] == [(1, "failed"), (2, "completed")]
    dispatch = found["dispatch"]
    assert (dispatch["question"], dispatch["passed"], dispatch["insertions"]) == ("ok?", False, 30)
    assert dispatch["report"]["build_passed"] is True
    assert [(finding["code"], finding["line"]) for finding in found["findings"]] == [("G304", 3)]
    told = found["on_disk"]
    assert told["committed"] is True
    assert told["why"].startswith(f"committed at {workspace.mark()['committed_at']}")
    assert (told["status_file"], told["path"]) == (".meta/status.json", str(workspace.path))
    assert set(steps(host).values()) == {True}


def test_the_text_tells_the_same(host: Host) -> None:
    """Status, verdicts, changes, findings and the conclusion can be read without JSON."""
    make(host.root, report=REPORT, task="Round the totals", pr_url="https://example.org/1")
    host.once()
    lines = show(host, "org/repo/task").stdout
    for words in (
        "completed, run 0",
        "Round the totals",
        "passed no, build yes",
        "2 files, +30 -4",
        "https://example.org/1",
        "1 commit of this workspace",
        "G304",
        "a.go",
        "so            committed at",
    ):
        assert words in lines


def test_the_text_tells_session_commits_command_and_files(host: Host) -> None:
    """What belongs to the change; of many files some, and what is of another kind is passed over."""
    changes = {"files_changed": 30, "files": [f"pkg/f{number}.go" for number in range(30)]}
    usage, commits = {"session_id": "s-77"}, {"start": "a0" * 20, "end": "bc" * 20}
    make(host.root, report={"changes": changes, "usage": usage, "commits": commits, "command": "claude -p 'Fix it'"})
    odd = {"changes": {"files": "a.go"}, "commits": [], "command": 7, "usage": 3}
    make(host.root, "org/repo/odd", report=odd)
    host.once()
    text = " ".join(show(host, "org/repo/task").stdout.split())
    for words in ("pkg/f0.go, pkg/f1.go,", "and 10 more", "s-77", f"{'a0' * 20} to {'bc' * 20}", "claude -p 'Fix it'"):
        assert words in text
    assert "files" not in show(host, "org/repo/odd").stdout


def test_a_commit_is_found_by_its_id(host: Host) -> None:
    """The id of an older commit shows that one, beside all commits of its workspace."""
    workspace = make(host.root, status="failed", runs=1)
    host.once()
    workspace.write_status(updated_at="2026-04-15T12:00:00Z", runs=2)
    host.once()
    (first, _) = document(host)["commits"]
    found = document(host, str(first["id"]))
    assert (found["dispatch"]["status"], len(found["commits"])) == ("failed", 2)
    assert found["workspace"] == workspace.name


def test_nothing_is_written(host: Host) -> None:
    """Looking at a committed, a new, a torn and a failing workspace leaves every byte and time as it was."""
    make(host.root, "o/r/done")
    host.once()
    make(host.root, "o/r/new", layout="root")
    torn = make(host.root, "o/r/torn")
    torn.journal.write_text('{"half')
    torn.marker.write_text("{")
    before = snapshot(host.base)
    for name in ("o/r/done", "o/r/new", "o/r/torn"):
        show(host, name)
    assert snapshot(host.base) == before


def test_an_unfinished_one_says_what_is_missing(host: Host) -> None:
    """A running dispatch has nothing to commit; one whose process is gone may never have."""
    make(host.root, status="running", pid=os.getpid())
    assert on_disk(host)["committed"] is False
    assert "running is not finished" in on_disk(host)["why"]
    Workspace(host.root, "org/repo/task").write_status(status="running", pid=ended_pid())
    assert "is gone" in on_disk(host)["why"]
    assert steps(host)["finished"] is False


def test_a_broken_status_is_the_cause(host: Host) -> None:
    """The file and what is wrong with it stand in the conclusion, with the number of failures so far."""
    (make(host.root).meta / "status.json").write_text("{")
    host.once()
    told = on_disk(host)
    assert ".meta/status.json: is not JSON" in told["why"]
    assert (told["fail_count"], told["status"], told["committed"]) == (1, None, False)
    assert told["next_attempt_at"].endswith("Z")
    assert "failed once" in says(host, "attempts")


def test_the_newer_of_two_status_files_counts(host: Host) -> None:
    """Both are named, and why one of them does not count."""
    workspace = make(host.root, status="running", updated_at="2026-04-14T10:00:00Z")
    workspace.write_status("root", updated_at="2026-04-14T11:00:00Z")
    told = on_disk(host)
    assert (told["status_file"], told["status"]) == ("status.json", "completed")
    assert ".meta/status.json (updated 2026-04-14T10:00:00Z) is not newer" in says(host, "status")


def test_a_held_lock_is_seen(host: Host) -> None:
    """Somebody else's lock on the workspace is told, and left alone."""
    workspace = make(host.root)
    with held_lock(workspace.meta):
        assert steps(host)["lock"] is False
    assert steps(host)["lock"] is True


def test_a_marker_that_nothing_confirms_counts_as_none(host: Host) -> None:
    """An agent can forge its own marker: without row and line the dispatch is not committed."""
    workspace = make(host.root)
    write_marker(workspace)
    told = on_disk(host)
    assert (told["committed"], steps(host)["marker"]) == (False, True)
    assert "it lacks its journal line, its history row and its marker" in told["why"]


def test_a_marker_of_another_commit_is_told(host: Host) -> None:
    """Of a marker for an earlier run, or another workspace, it is said whose it is."""
    workspace = make(host.root, runs=2)
    write_marker(workspace, runs=1)
    assert "is for another commit" in says(host, "marker")
    write_marker(workspace, runs=2, workspace="org/repo/other")
    assert "names another workspace, org/repo/other" in says(host, "marker")


def test_a_moved_workspace_is_told_as_committed_under_its_former_name(host: Host) -> None:
    """Marker and line name its former place; they are its own, and that is said."""
    workspace = make(host.root, "org/repo/old")
    host.once()
    workspace.path.rename(host.root / "org/repo/task")
    host.once()
    told = on_disk(host)
    assert told["committed"] is True, told["why"]
    assert (steps(host)["marker"], steps(host)["journal"], steps(host)["row"]) == (True, True, True)
    assert "the workspace was moved, and its commit keeps its former name, org/repo/old" in says(host, "marker")
    assert "1 from before the workspace was moved" in says(host, "journal")
    Workspace(host.root, "org/repo/task").write_status(runs=7, status="running")
    assert "is for another commit" in says(host, "marker")


def test_a_missing_row_is_what_it_lacks(host: Host) -> None:
    """When the history was lost, marker and line stand, and the row is said to be missing."""
    make(host.root)
    host.once()
    host.forget_history()
    told = on_disk(host)
    assert "committed, but it lacks its history row" in told["why"]
    assert (steps(host)["marker"], steps(host)["journal"], steps(host)["row"]) == (True, True, False)


def test_the_same_identity_with_other_content_is_told(host: Host) -> None:
    """What was committed otherwise than the status says now is named, field by field."""
    workspace = make(host.root, task="first")
    host.once()
    workspace.write_status(task="second")
    differences = on_disk(host)["differences"]
    assert "task is 'second' in the status and 'first' in the history row; nothing is appended" in differences
    assert len(differences) == 2


def test_lines_of_others_are_counted(host: Host) -> None:
    """Lines that name another workspace, and lines that are none, are told of the journal."""
    workspace = make(host.root)
    host.once()
    line = workspace.line() | {"workspace": "org/repo/other"}
    with workspace.journal.open("a") as journal:
        journal.write(json.dumps(line) + "\nnonsense\n")
    text = says(host, "journal")
    assert "1 line in all; 1 line of another workspace" in text
    assert "1 invalid line" in text


def test_who_adds_what_is_missing(host: Host) -> None:
    """Without a daemon the commands that do it are named, with one that it will."""
    make(host.root)
    assert "no daemon runs; `agentic-watch commit`" in on_disk(host)["why"]
    instance = Instance.acquire(str(host.history))
    try:
        assert "the daemon adds it once" in on_disk(host)["why"]
    finally:
        instance.release()


def test_a_workspace_that_is_gone_is_shown_from_the_history(host: Host) -> None:
    """By its name and by its whole path, with nothing on disk."""
    workspace = make(host.root, agent="codex")
    host.once()
    shutil.rmtree(host.root / "org")
    for given in (workspace.name, str(workspace.path)):
        found = document(host, given)
        assert (found["dispatch"]["agent"], found["on_disk"]) == ("codex", None)
    assert "no longer on disk" in show(host, workspace.name).stdout


def test_a_copied_history_needs_no_root(host: Host) -> None:
    """Where no root is configured the history alone answers."""
    make(host.root)
    host.once()
    result = run(["--history", str(host.history), "show", "org/repo/task", "--json"], host.base)
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["on_disk"] is None


@pytest.mark.parametrize("given", ["task", "org/repo/tusk", "4711", "00000000-0000-0000-0000-000000000000", "", "/etc"])
def test_what_is_not_known_is_one_line(host: Host, given: str) -> None:
    """An unknown name, id or path is refused in one line."""
    make(host.root)
    host.once()
    result = show(host, given, code=1)
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert result.stderr.startswith("Error: ")


def test_a_near_name_is_suggested(host: Host) -> None:
    """The last part of a name leads to the whole one."""
    make(host.root)
    host.once()
    assert "did you mean org/repo/task?" in show(host, "task", code=1).stderr


def test_a_name_in_two_roots_needs_an_id(host: Host) -> None:
    """When the history knows one name in two roots, and neither is on disk, the roots are named."""
    other = Host(host.base, host.base / "second", host.history)
    for one in (host, other):
        make(one.root)
        one.once()
        shutil.rmtree(one.root / "org")
    assert f"is in several roots ({host.root}, {other.root})" in show(host, "org/repo/task", code=1).stderr


def test_hostile_words_stay_on_their_lines(host: Host) -> None:
    """Control characters and long texts of a status are printed clean and short."""
    make(host.root, task="\x1b[2J" + "t" * 10_000, question="a\n\x9b31mb", agent="\n\n")
    host.once()
    lines = show(host, "org/repo/task").stdout.splitlines()
    assert all(line.isprintable() for line in lines)
    assert max(map(len, lines)) < 150


def test_an_unreadable_history_is_named_and_the_disk_is_told() -> None:
    """Who may not read the history is told so, sees the workspace nevertheless, and gets exit status 1."""
    with public_directory() as directory:
        host = Host.make(directory)
        make(host.root)
        host.once()
        host.history.chmod(0)
        result = run_as_nobody([*host.arguments(), "show", "org/repo/task", "--json"], host.base)
        assert result.returncode == 1
        found = json.loads(result.stdout)
        assert f"failed: {host.history}: " in result.stderr
        assert found["error"]
        row = next(step for step in found["on_disk"]["steps"] if step["step"] == "row")
        assert row["holds"] is None


def test_a_file_that_is_no_history_is_refused(host: Host) -> None:
    """The wrong file named as history: exit status 78, and it stays as it is."""
    make(host.root)
    host.history.parent.mkdir()
    host.history.write_bytes(b"no database " * 1000)
    assert "not a history of agentic-watch" in show(host, "org/repo/task", code=78).stderr


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_the_text_fits_the_terminal(host: Host, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is longer than the terminal is wide."""
    make(
        host.root, "a-long-organisation/a-long-repository/a-long-task", report=REPORT, task="word " * 60, agent="codex"
    )
    host.once()
    command = [sys.executable, "-m", "agentic_watch", *host.arguments(), "show", "1"]
    result = subprocess.run(
        command, env={**os.environ, "COLUMNS": str(width)}, capture_output=True, text=True, check=True, timeout=60
    )
    body = [line for line in result.stdout.splitlines() if "/" not in line]
    assert max(map(len, body)) <= max(width, 48)
