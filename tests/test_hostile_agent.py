"""One agent at its worst: what it writes and touches in its own workspaces holds up nobody else."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from daemon_support import Service
from support import Host, make

STORM = """
import itertools, os, sys, time
rate, paths = float(sys.argv[1]), sys.argv[2:]
due = time.monotonic()
for number, path in enumerate(itertools.cycle(paths), 1):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    if number % 20 == 0:
        due = max(due + 20 / rate, time.monotonic() - 0.1)
        time.sleep(max(0.0, due - time.monotonic()))
"""
"""Files opened for writing and closed in turn, so many a second."""

LARGE_STATUS_BYTES = 600_000
Agent = Callable[[Host], tuple[float, list[Path]]]
"""Makes workspaces; gives how many times a second which files are touched."""
SOON_SECONDS = 10.0
"""A tenth of a second on a host with nothing else to do; tests run beside each other."""


@contextlib.contextmanager
def storm(rate: float, *paths: Path) -> Iterator[None]:
    """A process that opens and closes these, one after the other."""
    process = subprocess.Popen([sys.executable, "-c", STORM, str(rate), *map(str, paths)])
    try:
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def large(host: Host) -> tuple[float, list[Path]]:
    """One status at its limit, touched as often as goes for sensible, in turns with the report."""
    hostile = make(host.root, "hostile/repo/task", status="running", task="x" * LARGE_STATUS_BYTES, report={})
    return 230, [hostile.meta / "status.json", hostile.meta / "report.json"]


def many(host: Host) -> tuple[float, list[Path]]:
    """A thousand small statuses, none of which is touched too often by itself."""
    made = [make(host.root, f"hostile/repo/task-{number:04}", status="running") for number in range(1_000)]
    return 20_000, [workspace.meta / "status.json" for workspace in made]


@pytest.mark.parametrize("agent", [large, many])
@pytest.mark.parametrize("settle", [0.0, 0.2])
def test_others_are_served_and_sigterm_is_obeyed_beside(host: Host, agent: Agent, settle: float) -> None:
    """Finishes of others come soon; the daemon ends soon."""
    others = [make(host.root, f"org/repo/task-{number}", status="running") for number in range(10)]
    service = Service(host)
    service.settle_seconds = settle
    rate, paths = agent(host)
    with service, storm(rate, *paths):
        time.sleep(3.0)  # the storm at its height, and what it is throttled to
        took = []
        for workspace in others:
            began = time.monotonic()
            workspace.write_status()
            service.wait_committed(workspace)
            took.append(time.monotonic() - began)
        assert sorted(took)[-2] < settle + SOON_SECONDS, took
        service.signal(signal.SIGTERM)
        assert service.wait_end(SOON_SECONDS) == 0


def test_large_reports_that_come_together_hold_up_neither_others_nor_a_stop(host: Host) -> None:
    """Each takes long to be read and recorded; they are not one group, and a stop ends with those that are begun."""
    finding = {"tool": "ruff", "file": "a.py", "line": 1, "message": "m" * 200}
    report = {"findings": [finding] * 2_000}
    heavy = [make(host.root, f"hostile/repo/task-{n}", status="running", report=report) for n in range(60)]
    other = make(host.root, status="running")
    service = Service(host, patience_seconds=60.0)
    service.settle_seconds = 0.0
    with service:
        for workspace in heavy:
            workspace.write_status()
        service.wait(lambda: any(workspace.marker.exists() for workspace in heavy))
        with service.paused():
            before = sum(workspace.marker.exists() for workspace in heavy)
            service.signal(signal.SIGTERM)
        assert service.wait_end() == 0
        assert sum(workspace.marker.exists() for workspace in heavy) - before < 30
        service.start()
        service.wait_ready(2)
        other.write_status()
        service.wait_committed(other, *heavy, seconds=60.0)
