"""The power is cut for real: a file system on a loop device is shut down in the middle of a run, then mounted anew.

What was not synced is lost then. The history lies on another file system, so that SQLite's syncs do not
carry ours along. Needs root and loop devices.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import wait_for

from . import points, test_together, trace
from . import tree as trees
from .points import KILL, Scenario
from .trace import Call
from .tree import AGAIN, Tree

pytestmark = pytest.mark.faults

FS_IOC_GOINGDOWN = 0x8004587D
NO_LOG_FLUSH = 2
DISK_BYTES = 400 << 20
HISTORY_STEP = 6
"""Of the calls on the history every so many: its disk does not lose power, ours does."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A mounted file system of its own whose power can be cut."""

    kind: str
    image: Path
    mounted: Path

    def mount(self) -> None:
        """Mount it; the loop device goes when it is unmounted."""
        subprocess.run(["mount", "-o", "loop", str(self.image), str(self.mounted)], check=True, capture_output=True)

    def unmount(self) -> None:
        """Unmount it, and wait until nobody has it: a process with a mount namespace of its own may hold a copy, and
        the file system that was shut down would be mounted once more."""
        subprocess.run(["umount", str(self.mounted)], check=True, capture_output=True)
        wait_for(lambda: not self._loop_devices(), 120)

    def _loop_devices(self) -> str:
        return subprocess.run(["losetup", "-j", str(self.image)], check=True, capture_output=True, text=True).stdout

    def settle(self) -> None:
        """Make durable what is there."""
        subprocess.run(["sync", "-f", str(self.mounted)], check=True)

    def cut_power(self) -> None:
        """Lose everything that was not synced, and come back."""
        self.shut_down()
        self.come_back()

    def shut_down(self) -> None:
        """Lose everything that was not synced; whoever still writes gets an I/O error."""
        descriptor = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, FS_IOC_GOINGDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(descriptor)

    def come_back(self) -> None:
        """Mount it anew, when nobody has anything open there."""
        self.unmount()
        self.mount()


def _why_not(kind: str) -> str:
    if os.geteuid() != 0:
        return "only root can mount a file system to cut its power"
    if not os.path.exists("/dev/loop-control"):
        return "there are no loop devices"
    return "" if shutil.which(f"mkfs.{kind}") else f"mkfs.{kind} is not installed"


@pytest.fixture(params=["ext4", "xfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """A fresh file system; unmounted whatever happens."""
    if reason := _why_not(request.param):
        pytest.skip(reason)
    made = Disk(request.param, tmp_path / "disk.img", tmp_path / "disk")
    made.mounted.mkdir()
    with made.image.open("wb") as image:
        image.truncate(DISK_BYTES)
    subprocess.run([f"mkfs.{request.param}", "-q", str(made.image)], check=True)
    made.mount()
    yield made
    made.unmount()
    made.image.unlink()


def fresh(scenario: Scenario, disk: Disk, base: Path) -> Tree:
    """A copy of the template with its workspaces on the disk and its history elsewhere, all durable."""
    copied = scenario.fresh(base)
    there = disk.mounted / base.name
    there.mkdir()
    subprocess.run(["cp", "-a", str(copied.root), str(there / "root")], check=True)
    shutil.rmtree(copied.root)
    disk.settle()
    return Tree(there / "root", copied.history)


def test_a_cut_loses_what_was_not_synced(disk: Disk) -> None:
    """The cut is a real one: a synced file is there afterwards, one that was only written is not."""
    for name in ("synced", "written"):
        with (disk.mounted / name).open("w") as file:
            file.write("kept?")
            file.flush()
            if name == "synced":
                os.fsync(file.fileno())
    disk.cut_power()
    assert (disk.mounted / "synced").read_text() == "kept?"
    left = disk.mounted / "written"
    assert not left.exists() or left.read_text() == ""


@pytest.mark.parametrize("name", ["once", "once, in jobs", "once, history lost", "commit"])
def test_a_finished_run_needs_no_other(
    calls_of: dict[str, list[Call]], scenarios: dict[str, Scenario], disk: Disk, tmp_path: Path, name: str
) -> None:
    """When the program has ended, a cut takes nothing back: line, row and marker are all there."""
    assert calls_of
    scenario = scenarios[name]
    tree = fresh(scenario, disk, tmp_path / "whole")
    done = tree.run(*scenario.command)
    disk.cut_power()
    assert done.returncode == 0, done.stderr
    assert trees.problems(tree, index=False) == []


def test_power_cut_at_every_step(
    calls_of: dict[str, list[Call]], scenarios: dict[str, Scenario], disk: Disk, tmp_path: Path
) -> None:
    """Cut at any step: no marker without its row, no row without its line; the next run completes it, once."""
    assert calls_of
    calm = trace.traced(fresh(scenarios["once"], disk, tmp_path / "calm"), tmp_path / "trace", ("--once",))
    mutating = [call for call in calm.calls if KILL.befalls(call)]
    steps = [call for call in mutating if call.path.startswith("root/")]
    steps += [call for call in mutating if not call.path.startswith("root/")][::HISTORY_STEP]
    found = []
    for number, point in enumerate(steps):
        tree = fresh(scenarios["once"], disk, tmp_path / f"cut-{number}")
        found += [f"cut at {point}: {problem}" for problem in _cut_at(tree, disk, point, tmp_path / "trace")]
        shutil.rmtree(tree.root)
    print(f"{len(steps)} cuts")
    assert found == []


def _cut_at(tree: Tree, disk: Disk, point: Call, log: Path) -> list[str]:
    seen = trace.traced(tree, log, ("--once",), inject=f"{point.call}:{KILL.words}:when={point.nth}")
    disk.cut_power()
    if seen.status != points.SIGKILLED:
        return [f"was not reached: status {seen.status}"]
    return trees.order_problems(tree) + points.run_again(tree)


BATCHES = test_together.COUNT // test_together.BATCH
BETWEEN_BATCHES = (
    *(f"syncfs:when={nth}" for nth in range(1, BATCHES + 3)),
    *(f"renameat:when={nth}" for nth in (1, 10, 30, 70)),
    *(f"fdatasync:when={nth}" for nth in range(3, 3 + 2 * BATCHES)),
)


def test_power_cut_between_the_steps_of_batches(disk: Disk, tmp_path: Path) -> None:
    """Where one syncfs serves three batches, a cut leaves no row without its line and no marker without its row."""
    cuts = 0
    for number, where in enumerate(BETWEEN_BATCHES):
        base, there = tmp_path / f"base-{number}", disk.mounted / f"cut-{number}"
        base.mkdir()
        there.mkdir()
        root = test_together.plant(there)
        disk.settle()
        call, _, nth = where.partition(":")
        status, _ = test_together.once(root, f"{call}:signal=SIGKILL:{nth}", base)
        disk.cut_power()
        cuts += status == points.SIGKILLED
        _assert_order(root, base / "state/history.db")
        assert test_together.once(root, base=base)[0] == 0, where
        test_together.assert_exactly_once(root, base)
        shutil.rmtree(there)
    print(f"{cuts} cuts")
    assert cuts >= BATCHES + 6


@pytest.mark.parametrize("marked", [1, 10, 25, 40, 60])
def test_power_cut_while_jobs_are_at_work(disk: Disk, tmp_path: Path, marked: int) -> None:
    """Cut when about so many workspaces are marked: the order holds for each; the next pass completes it, once."""
    root = test_together.plant(disk.mounted)
    disk.settle()
    history = tmp_path / "state/history.db"
    program = [sys.executable, "-c", test_together.PROGRAM, "--root", str(root), "--history", str(history), "--once"]
    working = subprocess.Popen([*program, "--jobs", "3"], stderr=subprocess.PIPE, text=True, start_new_session=True)
    while working.poll() is None and len(list(root.glob("*/*/*/.meta/commit.json"))) < marked:
        pass
    if disk.kind == "xfs":
        # Once it is shut down it says of a directory that it is durable: xfs_dir_fsync asks only whether its inode is
        # still to be written. Without power nobody goes on; on ext4 they do, and are told.
        os.killpg(working.pid, signal.SIGKILL)
    disk.shut_down()
    _, said = working.communicate(timeout=60)
    assert "Traceback" not in said
    wait_for(lambda: _has_ended(working.pid))
    disk.come_back()
    _assert_order(root, history)
    assert subprocess.run([*program, "--jobs", "2"], check=False).returncode == 0
    test_together.assert_exactly_once(root, tmp_path, may_be_torn=True)


def _has_ended(group: int) -> bool:
    """Whether no process of the group is left, which may hold a file open while it dies."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def _assert_order(root: Path, history: Path) -> None:
    rows = set()
    if history.exists():
        with contextlib.closing(sqlite3.connect(history)) as connection, contextlib.suppress(sqlite3.OperationalError):
            rows = {name for (name,) in connection.execute("SELECT workspace FROM dispatch_history")}
    for meta in root.glob("*/*/*/.meta"):
        name = str(meta.parent.relative_to(root))
        if name in rows:
            (line,) = (meta / "journal.jsonl").read_text().splitlines()
            assert json.loads(line)["workspace"] == name
        assert name in rows or not (meta / "commit.json").exists(), name


def test_failed_line_is_written_anew(
    calls_of: dict[str, list[Call]], scenarios: dict[str, Scenario], disk: Disk, tmp_path: Path
) -> None:
    """After a sync that failed the line is not trusted: what the next run vouches for survives a cut."""
    scenario = scenarios["commit"]  # which goes through the workspaces in the same order on every file system
    point = next(c for c in calls_of["commit"] if c.call == "fsync" and c.path == f"root/{AGAIN}/.meta/journal.jsonl")
    tree = fresh(scenario, disk, tmp_path / "failed")
    trace.traced(tree, tmp_path / "trace", scenario.command, inject=f"fsync:error=EIO:when={point.nth}")
    before = trees.lines(tree, AGAIN)
    again = tree.run("--once")
    disk.cut_power()
    assert again.returncode == 0, again.stderr
    assert [line["runs"] for line in before] == [1]
    assert trees.problems(tree) == []
