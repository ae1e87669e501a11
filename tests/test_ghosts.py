"""A dispatch that says it is running while its process is gone: the index says so, and takes it back."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from support import Host, make, query, run

CAP_KILL = 5


def ghosts(host: Host) -> list[int]:
    """The column `ghost` of the one workspace there is."""
    return [row[0] for row in query(host.history, "SELECT ghost FROM workspaces")]


def test_a_ghost_is_seen_without_a_change_in_any_file(host: Host) -> None:
    """The process of a running dispatch ends: the next pass marks it, though its status file is as it was."""
    process = subprocess.Popen(["sleep", "60"])
    try:
        make(host.root, status="running", pid=process.pid)
        host.once()
        assert ghosts(host) == [0]
    finally:
        process.kill()
        process.wait()
    host.once()
    assert ghosts(host) == [1]


def standing(host: Host, **fields: Any) -> bool:
    """Whether a running dispatch with these fields is a ghost by the index and by `status`."""
    make(host.root, status="running", **fields)
    host.once()
    (by_index,) = ghosts(host)
    document = json.loads(run([*host.arguments(), "status", "--json"], host.base).stdout)
    assert bool(document["ghosts"]) == bool(by_index)
    return bool(by_index)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives, begun just now."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_pid_that_another_process_has_now_is_a_ghost(host: Host, sleeper: subprocess.Popen[bytes]) -> None:
    """The status named the number long before this process began."""
    assert standing(host, pid=sleeper.pid, started_at="2020-01-01T00:00:00Z", updated_at="2020-01-01T00:00:01Z")


def test_a_process_that_began_before_its_status_is_none(host: Host, sleeper: subprocess.Popen[bytes]) -> None:
    """A run again of a dispatch that began long ago: its status was written after its process began."""
    now = datetime.now(UTC).isoformat()
    assert not standing(host, pid=sleeper.pid, started_at="2020-01-01T00:00:00Z", updated_at=now)


def test_a_zombie_is_a_ghost(host: Host) -> None:
    """It has ended, and nobody has asked how."""
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert standing(host, pid=zombie.pid)
    finally:
        zombie.wait()


def test_a_process_that_may_not_be_signalled_is_none(host: Host) -> None:
    """init is somebody else's and lives."""
    make(host.root, status="running", pid=1)
    assert run([*host.arguments(), "--once"], host.base, lacking=(CAP_KILL,)).returncode == 0
    assert ghosts(host) == [0]


def test_a_finished_or_unnumbered_dispatch_is_no_ghost(host: Host) -> None:
    """Only a running dispatch that names a process can be one."""
    make(host.root, "org/repo/done", status="completed", pid=2**30)
    make(host.root, "org/repo/numberless", status="running")
    host.once()
    assert ghosts(host) == [0, 0]
