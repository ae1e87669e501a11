"""A host under attack for minutes or hours: one agent storms its own workspaces, a root hangs again and again, somebody
holds the history locked; and others' dispatches finish all the time.

What is asserted: each finish is there exactly once, others' finishes wait no longer than three times as long as on a
quiet host and the settle time, the daemon does not grow, and says WATCHDOG=1 in time.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from daemon_support import Service
from fuse_mirror import FuseMirror
from support import Host, Workspace, make, query, write_locked
from test_hostile_agent import STORM, large, many

_SETTLE_SECONDS = 2.0
_WATCHDOG_SECONDS = 60
_QUIET_SHARE = 0.1
_FINISH_SECONDS = 0.4
_FAR_EVERY = 12
"""A root that hangs while it is read or written catches the loop, which is the watchdog's matter; so it is not busy."""
_KEPT = 500
"""So many workspaces that are committed are left there."""
_AT_LAST_SECONDS = 180.0
_GROWTH_KIB = 24 * 1024
_MORE_DESCRIPTORS = 16


@dataclass
class Attack:
    """What was measured: seconds from a status to its marker, and what the daemon held, in KiB and descriptors."""

    quiet: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    longest_gap: float = 0.0
    finished: int = 0

    def text(self) -> str:
        """One line of results."""
        return (
            f"{self.finished} finishes, each exactly once; p99 quiet {_p99(self.quiet):.2f} s, beside the attack "
            f"{_p99(self.beside):.2f} s; memory {self.memory[0] >> 10} to {self.memory[-1] >> 10} MiB, descriptors "
            f"{self.descriptors[0]} to {self.descriptors[-1]}; longest gap between two "
            f"WATCHDOG=1 {self.longest_gap:.1f} s"
        )


class _Manager(threading.Thread):
    """Listens for WATCHDOG=1 as systemd does."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.longest_gap = 0.0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def run(self) -> None:
        last = time.monotonic()
        while b"STOPPING=1" not in (heard := self._socket.recv(65536)):
            if b"WATCHDOG=1" in heard:
                self.longest_gap = max(self.longest_gap, time.monotonic() - last)
                last = time.monotonic()
        self._socket.close()


def attack(seconds: float, seed: int, base: Path) -> Attack:
    """Attack a daemon for so long. Raises AssertionError."""
    (base / "systemd").mkdir()
    manager = _Manager(base / "systemd/notify")
    manager.start()
    host = Host.make(base)
    with FuseMirror(base / "behind", base / "far") as far:
        environ = {"NOTIFY_SOCKET": str(base / "systemd/notify"), "WATCHDOG_USEC": str(_WATCHDOG_SECONDS * 10**6)}
        service = Service(host, environ=environ)
        service.settle_seconds, service.reconcile_seconds = _SETTLE_SECONDS, 30.0
        service.roots = [{"path": str(host.root), "name": "near"}, {"path": str(far.path), "name": "far"}]
        storms = [large(host), many(host)]
        with service:
            found = _play(service, far, storms, seconds, random.Random(seed))
            assert service.stop() == 0
    manager.join(5.0)
    found.longest_gap = manager.longest_gap
    assert found.longest_gap < _WATCHDOG_SECONDS / 2, found.text()
    assert _p99(found.beside) <= 3 * _p99(found.quiet) + _SETTLE_SECONDS, found.text()
    assert found.memory[-1] <= found.memory[0] + _GROWTH_KIB, found.text()
    assert found.descriptors[-1] <= found.descriptors[0] + _MORE_DESCRIPTORS, found.text()
    return found


def _play(
    service: Service, far: FuseMirror, storms: list[tuple[float, list[Path]]], seconds: float, rng: random.Random
) -> Attack:
    found, began = Attack(), time.monotonic()
    near: set[Workspace] = set()
    kept: deque[Workspace] = deque()
    behind: list[Workspace] = []
    wanted: Counter[tuple[str, str, int]] = Counter()
    stopped = threading.Event()
    troubles = [
        threading.Thread(target=_storm, args=(storms, stopped)),
        threading.Thread(target=_hang, args=(far, stopped, random.Random(rng.random()))),
        threading.Thread(target=_lock, args=(service.host, stopped, random.Random(rng.random()))),
    ]
    try:
        while time.monotonic() - began < seconds:
            number = found.finished
            near.add(make(service.host.root, f"org/repo-{number // 1000}/task-{number}", runs=number))
            wanted["near", f"org/repo-{number // 1000}/task-{number}", number] += 1
            found.finished += 1
            if number % _FAR_EVERY == 0:
                behind.append(make(far.behind, f"org/repo/far-{number}", runs=number))
                wanted["far", f"org/repo/far-{number}", number] += 1
                found.finished += 1
            time.sleep(_FINISH_SECONDS)
            samples = found.beside if troubles[0].ident else found.quiet
            for one in [one for one in near if one.marker.exists()]:
                samples.append(one.marker.stat().st_mtime - (one.meta / "status.json").stat().st_mtime)
                near.remove(one)
                kept.append(one)
            while len(kept) > _KEPT:  # as operators do: what is known of a workspace goes with it
                _remove(kept.popleft())
            for one in [one for one in behind if one.marker.exists() and one.name in service.names()]:
                assert len(one.lines()) == 1
                _remove(one)
                behind.remove(one)
            if not troubles[0].ident and time.monotonic() - began > max(20.0, _QUIET_SHARE * seconds):
                _measure(service, found)
                for trouble in troubles:
                    trouble.start()
    finally:
        stopped.set()
        for trouble in troubles:
            if trouble.ident:
                trouble.join()
        far.answer()
    service.wait(lambda: all(one.marker.exists() for one in [*near, *behind]), _AT_LAST_SECONDS)
    service.wait(lambda: _rows(service.host) == wanted, _AT_LAST_SECONDS)
    _measure(service, found)
    return found


def _remove(workspace: Workspace) -> None:
    """As `rm -rf` does when somebody who sees it go still puts a file there: once more."""
    for _ in range(5):
        with contextlib.suppress(OSError):
            shutil.rmtree(workspace.path)
            return
    shutil.rmtree(workspace.path)


def _rows(host: Host) -> Counter[tuple[str, str, int]]:
    rows = query(host.history, "SELECT root, workspace, runs FROM dispatch_history")
    return Counter((row["root"], row["workspace"], row["runs"]) for row in rows)


def _measure(service: Service, found: Attack) -> None:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{service.pid}/status").read_text().splitlines())
    found.memory.append(int(status["VmRSS"].split()[0]))
    found.descriptors.append(len(os.listdir(f"/proc/{service.pid}/fd")))


def _storm(storms: list[tuple[float, list[Path]]], stopped: threading.Event) -> None:
    """One kind, then the other, with a rest between."""
    while not stopped.is_set():
        for rate, paths in storms:
            process = subprocess.Popen([sys.executable, "-c", STORM, str(rate), *map(str, paths)])
            stopped.wait(40.0)
            process.kill()
            process.wait()
            stopped.wait(5.0)


def _hang(far: FuseMirror, stopped: threading.Event, rng: random.Random) -> None:
    while not stopped.wait(rng.uniform(10.0, 40.0)):
        far.hang()
        stopped.wait(rng.uniform(1.0, 20.0))
        far.answer()


def _lock(host: Host, stopped: threading.Event, rng: random.Random) -> None:
    while not stopped.wait(rng.uniform(5.0, 25.0)):
        # The daemon may hold it just then.
        with contextlib.suppress(OSError, sqlite3.OperationalError), write_locked(host.history):
            stopped.wait(rng.uniform(0.1, 8.0))


def _p99(samples: list[float]) -> float:
    return sorted(samples)[max(0, -(-99 * len(samples) // 100) - 1)] if samples else 0.0
