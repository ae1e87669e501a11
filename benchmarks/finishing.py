"""One finish after another: how long from the status's rename until its marker is seen, and until it is durable.

Seen: the marker's rename, told by inotify(7), so that looking costs the watcher nothing. Durable: the watcher's line
`NAME: committed`, which follows its last sync; this later one is what the table judges.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import trees
from benchmarks.processes import Daemon, Failed

GAP_SECONDS = 0.01
"""Pause between two finishes."""

_LIBC = ctypes.CDLL(None, use_errno=True)
_IN_MOVED_TO = 0x80
_DEADLINE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds from the status's rename until the marker was seen, and until the watcher called it durable."""

    seen: float
    durable: float


def finish_each(
    daemon: Daemon, root: str, numbers: Iterable[int], gap: float = GAP_SECONDS, run: int = 1
) -> list[Sample]:
    """Finish these workspaces one after the other, each when the one before it is committed."""
    samples = []
    for number in numbers:
        trees.stage(root, number, run)
        time.sleep(gap)
        samples.append(_finish(daemon, root, number))
        marked = json.loads(Path(f"{root}/{trees.name_of(number)}/.meta/commit.json").read_bytes())
        if marked["updated_at"] != trees.updated_at(number, run):
            raise Failed(f"{trees.name_of(number)}: the marker names another commit: {marked}")
    return samples


def _finish(daemon: Daemon, root: str, number: int) -> Sample:
    ear = _listen(f"{root}/{trees.name_of(number)}/.meta")
    try:
        poll = select.poll()
        poll.register(ear, select.POLLIN)
        poll.register(daemon.errors, select.POLLIN)
        started = time.perf_counter()
        trees.finish(root, number)
        seen = durable = 0.0
        while not (seen and durable):
            ready = poll.poll(_DEADLINE_SECONDS * 1000)
            now = time.perf_counter() - started
            if not ready:
                raise Failed(f"{trees.name_of(number)} was not committed: {daemon.log[-2000:].decode()}")
            for descriptor, _ in ready:
                if descriptor == ear:
                    seen = seen or (now if b"commit.json\0" in os.read(ear, 65_536) else 0.0)
                elif daemon.committed():
                    durable = now
        return Sample(seen, durable)
    finally:
        os.close(ear)


def _listen(directory: str) -> int:
    descriptor: int = _LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor < 0 or _LIBC.inotify_add_watch(descriptor, os.fsencode(directory), _IN_MOVED_TO) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    return descriptor
