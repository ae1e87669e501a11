"""Whoever failed by the host's fault is tried soon after the host is well again, however long its back-off is."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator

import pytest
from daemon_support import Service
from small_disk import SmallDisk, needs_mount
from support import UPDATED, Host, Workspace, make

from agentic_watch.config import Root
from agentic_watch.inventory.next_attempts import PROBE_SECONDS, HostFaults
from agentic_watch.workspace.candidate import Candidate

ROOT = Root("/srv/work")
OTHER_ROOT = Root("/srv/other")


@pytest.fixture
def disk(host: Host) -> Iterator[SmallDisk]:
    """The root lies on a disk of its own."""
    disk = SmallDisk(host.root)
    disk.mount()
    yield disk
    disk.unmount()


@needs_mount
@pytest.mark.parametrize("number", [1, 3])
def test_what_failed_while_the_disk_was_full_is_committed_soon_after_there_is_room(
    host: Host, disk: SmallDisk, number: int
) -> None:
    """Nobody reloads, and nothing else finishes; the back-off alone would be minutes."""
    waiting = [Workspace(host.root, f"org/repo/task-{n}") for n in range(number)]
    make_patient(host, waiting)
    for workspace in waiting:
        (workspace.meta / "next.json").write_text(json.dumps({"status": "completed", "updated_at": UPDATED}))
    with Service(host) as service:
        service.wait(lambda: min(failures(host)) == 10)
        for workspace in waiting:
            (workspace.meta / "kept").hardlink_to(workspace.meta / "status.json")  # its end would make room
        disk.fill()
        for workspace in waiting:
            (workspace.meta / "next.json").rename(workspace.meta / "status.json")
        service.wait(lambda: service.state().counted.failures.get("disk_full", 0) >= number)
        disk.empty()
        service.wait_committed(*waiting, seconds=60.0)


def make_patient(host: Host, waiting: list[Workspace]) -> None:
    """Workspaces that have failed so often that their next attempts are five minutes apart."""
    for workspace in waiting:
        (make(host.root, workspace.name).meta / "status.json").write_text("{")
    host.once()
    with contextlib.closing(sqlite3.connect(host.history)) as connection, connection:
        connection.execute("UPDATE workspaces SET fail_count = 9")


def failures(host: Host) -> list[int]:
    return [count for (count,) in host.query("SELECT fail_count FROM workspaces")]


def names(found: list[Candidate]) -> list[str]:
    return [one.name for one in found]


def test_a_commit_releases_all_that_wait_for_the_same_root() -> None:
    """Those of another root, which may lie on another disk, go on waiting."""
    faults = HostFaults()
    for candidate in (Candidate(ROOT, "a"), Candidate(ROOT, "b"), Candidate(OTHER_ROOT, "c")):
        faults.failed(candidate)
    assert names(faults.released(ROOT.key, 100.0)) == ["a", "b"]
    faults.ended(Candidate(ROOT, "a"))
    assert faults.released(ROOT.key, 100.0 + PROBE_SECONDS - 0.1) == []
    assert names(faults.released(ROOT.key, 100.0 + PROBE_SECONDS)) == ["b"]


def test_each_in_turn_is_the_probe() -> None:
    """One that fails for good, on a bad block of its own, keeps no other from being tried."""
    faults = HostFaults()
    for name in ("bad", "good"):
        faults.failed(Candidate(ROOT, name))
    tried = []
    for turn in range(3):
        ((probe, due),) = faults.probes(100.0 * turn)
        assert due == 100.0 * turn + PROBE_SECONDS
        assert list(faults.probes(due)) == []
        tried.append(probe.name)
        faults.failed(probe)
    assert tried == ["bad", "good", "bad"]


def test_who_is_committed_or_goes_away_is_no_probe() -> None:
    """When none waits, none is sent."""
    faults = HostFaults()
    faults.failed(Candidate(ROOT, "a"))
    assert len(list(faults.probes(0.0))) == 1
    faults.ended(Candidate(ROOT, "a"))
    assert list(faults.probes(0.0)) == []
