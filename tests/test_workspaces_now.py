"""What stands of each workspace now: read from the files, or from the index while nothing has changed."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from typing import Any

import pytest
import support
from support import Host, Workspace

from agentic_watch.answers.now.workspaces_now import WorkspaceSnapshot, workspaces_now
from agentic_watch.history.store import History
from agentic_watch.workspace import signatures


def look(host: Host, **root_options: Any) -> dict[str, WorkspaceSnapshot]:
    """A survey of the host by workspace, each of which stands there once."""
    found = list(workspaces_now(host.config(**root_options), History(str(host.history), read_only=True)))
    by_name = {standing.workspace: standing for standing in found}
    assert len(by_name) == len(found)
    return by_name


def rewrite_index(host: Host, name: str, column: str, value: Any) -> None:
    """Change a row of the index, so that what is answered from it can be told from what is read."""
    history = History(str(host.history))
    with history.transaction() as connection:
        connection.execute(f"UPDATE workspaces SET {column} = ? WHERE workspace = ?", (value, name))
    history.close()


def settle(workspace: Workspace) -> None:
    """Wait until the status file is old enough for its signature to be trusted."""
    path = workspace.meta / "status.json"
    support.wait_for(lambda: signatures.is_settled(path.stat(), time.time_ns()))


def ended_pid() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_without_an_index_everything_is_read_from_the_files(host: Host) -> None:
    """All that a status says stands in the survey, with no history at all, and none is made."""
    support.make(
        host.root, status="running", agent="codex:m", repo="r", question="why?", pid=os.getpid(), runs=3, task="t"
    )
    expected = WorkspaceSnapshot(
        root=str(host.root),
        workspace="org/repo/task",
        status="running",
        agent="codex:m",
        repo="r",
        question="why?",
        pid=os.getpid(),
        runs=3,
        updated_at=support.UPDATED,
    )
    assert look(host) == {"org/repo/task": expected}
    assert not host.history.parent.exists()


def test_an_unchanged_status_is_answered_from_the_index_and_a_changed_one_read(host: Host) -> None:
    """The index answers as long as the signature is the same, the file as soon as it is not."""
    workspace = support.make(host.root, agent="as-written")
    settle(workspace)
    host.once()
    read = look(host)[workspace.name]
    assert (read.agent, read.committed, read.fail_count) == ("as-written", True, 0)
    rewrite_index(host, workspace.name, "agent", "from-the-index")
    assert look(host)[workspace.name].agent == "from-the-index"
    workspace.write_status(agent="rewritten")
    assert look(host)[workspace.name].agent == "rewritten"


def test_a_changed_status_counts_as_committed_when_the_history_has_its_row(host: Host) -> None:
    """Rewritten with the same identity it stays committed, with a new one it is backlog, wherever the marker is."""
    workspace = support.make(host.root)
    host.once()
    workspace.write_status(task="said anew")
    workspace.marker.unlink()
    assert look(host)[workspace.name].committed
    workspace.write_status(runs=1)
    support.write_marker(workspace, runs=1)
    assert not look(host)[workspace.name].committed


def test_a_running_status_of_an_ended_process_is_a_ghost(host: Host) -> None:
    """Whether the process lives is asked each time: the index may say that it still did."""
    workspace = support.make(host.root, status="running", pid=ended_pid())
    assert look(host)[workspace.name].ghost
    settle(workspace)
    host.once()
    rewrite_index(host, workspace.name, "ghost", 0)
    assert look(host)[workspace.name].ghost


def test_broken_ones_stand_there_with_their_error(host: Host) -> None:
    """A status that is no JSON, a planted symlink and a name that is no text: each has a cause and no status."""
    support.make(host.root, "org/repo/sound")
    (support.make(host.root, "org/repo/torn").meta / "status.json").write_text('{"status":')
    planted = support.make(host.root, "org/repo/planted").meta / "status.json"
    planted.unlink()
    planted.symlink_to("/etc/passwd")
    support.make(host.root, "org/repo/two\nlines")
    errors = {name.rpartition("/")[2]: standing.last_error for name, standing in look(host).items()}
    assert errors.pop("sound") is None
    assert "is not JSON" in (errors.pop("torn") or "")
    assert errors == {
        "planted": ".meta/status.json: is a symbolic link",
        "two\nlines": "the name holds control characters",
    }


def test_a_failing_workspace_shows_its_failures_and_the_next_attempt(host: Host) -> None:
    """A commit that fails leaves its count, cause and time; the status that could be read is there too."""
    workspace = support.make(host.root, agent="codex")
    workspace.journal.mkdir()
    before = time.time()
    assert host.once().code == 3
    standing = look(host)[workspace.name]
    assert (standing.status, standing.agent, standing.committed) == ("completed", "codex", False)
    assert standing.fail_count == 1
    assert standing.last_error == ".meta/journal.jsonl: is a directory"
    assert standing.next_attempt_at is not None and standing.next_attempt_at > before


def test_a_root_that_is_not_there_stands_as_itself(host: Host) -> None:
    """A missing root is one entry with no workspace and the cause, and what the index knew is not invented."""
    support.make(host.root)
    host.once()
    host.root.rename(host.base / "away")
    assert look(host) == {"": WorkspaceSnapshot(str(host.root), "", last_error="No such file or directory")}


def test_a_survey_writes_nothing(host: Host) -> None:
    """Neither the workspaces nor the history's directory differ after a survey of known, new and broken ones."""
    support.make(host.root, "org/repo/known")
    host.once()
    support.make(host.root, "org/repo/new", layout="root")
    support.write_marker(support.make(host.root, "org/repo/broken"))
    (host.root / "org/repo/broken/.meta/commit.json").write_text("{")
    before = support.snapshot(host.base)
    assert len(look(host)) == 3
    assert support.snapshot(host.base) == before


def test_a_corrupt_history_is_said_once_and_left_where_it_is(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """The files are still read, what is committed is not known, one warning says why, and nothing is moved."""
    for name in ("one", "two", "three"):
        support.make(host.root, f"org/repo/{name}")
    host.once()
    support.spoil(host.history)
    before = support.snapshot(host.history.parent)
    with caplog.at_level(logging.WARNING):
        found = look(host)
    assert [(s.status, s.committed) for s in found.values()] == [("completed", None)] * 3
    (message,) = caplog.messages
    assert "malformed" in message
    assert support.snapshot(host.history.parent) == before
