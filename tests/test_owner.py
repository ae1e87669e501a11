"""Whose the files are that root makes in a workspace, and what is done where it may not give them away."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from support import Host, command, environment, make
from test_lost_events import own_limits

STRANGER = 54_321
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a stranger's workspace")


def of_a_stranger(top: Path) -> None:
    """Give a tree to somebody, and let everybody write in it."""
    for path in [top, *top.rglob("*")]:
        os.chown(path, STRANGER, STRANGER)
        path.chmod(0o777 if path.is_dir() else 0o644)


@needs_root
def test_what_root_makes_is_the_workspace_owners(host: Host) -> None:
    """Journal and marker, whoever runs the daemon."""
    workspace = make(host.root)
    of_a_stranger(host.root)
    assert host.once().counts["committed"] == 1
    assert {path.stat().st_uid for path in workspace.meta.iterdir()} == {STRANGER}


@needs_root
@own_limits
def test_an_owner_that_the_namespace_does_not_have_holds_up_nothing(host: Host) -> None:
    """chown(2) says EINVAL there, as EPERM with root_squash: the files stay root's, and one warning says so."""
    workspaces = [make(host.root, f"org/repo/task-{number}") for number in range(3)]
    of_a_stranger(host.root)
    arguments = ["unshare", "-Ur", *map(str, command([*host.arguments(), "--once"]))]
    result = subprocess.run(arguments, env=environment(host.base), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert all(workspace.marker.exists() and len(workspace.lines()) == 1 for workspace in workspaces)
    assert result.stderr.count("cannot be given to their owner") == 1
    assert {path.stat().st_uid for path in workspaces[0].meta.glob("*") if path.name != "status.json"} == {0}
