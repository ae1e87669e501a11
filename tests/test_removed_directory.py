"""Started in a directory that was removed since, as a hook is after the removal of its worktree."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from dispatch_support import git_environment, statuses
from support import Host, command, make


@pytest.fixture
def gone(host: Host) -> Path:
    """A directory for `in_removed`."""
    return host.base / "gone"


def in_removed(host: Host, gone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a directory that is not there any more."""
    gone.mkdir()

    def leave_nothing() -> None:
        os.chdir(gone)
        os.rmdir(gone)

    result = subprocess.run(
        command(arguments),
        env=git_environment(host.base),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=leave_nothing,
    )
    assert "Traceback" not in result.stderr
    assert not gone.exists()
    return result


def test_commit_and_show_take_names_and_whole_paths(host: Host, gone: Path) -> None:
    """What is given whole needs no directory to begin in."""
    workspace = make(host.root, "org/repo/task")
    for given in (str(workspace.path), "org/repo/task"):
        assert in_removed(host, gone, *host.arguments(), "commit", given).returncode == 0
        assert in_removed(host, gone, *host.arguments(), "show", given).returncode == 0
    assert in_removed(host, gone, *host.arguments(), "commit", ".").returncode == 1


def test_a_hook_still_writes_its_end(host: Host, gone: Path) -> None:
    """`begin`, `finish` and `dispatch` record; a relative report is missing, and said."""
    assert in_removed(host, gone, *host.arguments(), "dispatch", "begin", "--workspace", "w").returncode == 0
    end = ("finish", f"{host.root}/w", "--status", "failed", "--report", "junit.xml")
    result = in_removed(host, gone, *host.arguments(), "dispatch", *end)
    assert (result.returncode, "junit.xml: is not there" in result.stderr) == (0, True)
    assert in_removed(host, gone, *host.arguments(), "dispatch", "--workspace", "v", "--", "true").returncode == 0
    assert {name: status["status"] for name, status in statuses(host).items()} == {"w": "failed", "v": "completed"}


def test_a_relative_path_has_nothing_to_begin_at(host: Host, gone: Path) -> None:
    """A root or a history that is given so is a configuration that cannot be, in one line."""
    for options in (["--root", "relative"], ["--root", str(host.root), "--history", "history.db"]):
        result = in_removed(host, gone, *options, "commit", "w")
        assert (result.returncode, result.stdout) == (78, "")
        assert "is relative, and the current directory was removed" in result.stderr
