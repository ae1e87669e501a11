"""What must be so at the end: each finished dispatch exactly once, and a daemon that has not grown."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from support import run

from soak.dispatches import Identity
from soak.simulated_host import SimulatedHost

_GROWTH_KIB = 24 * 1024
_WRITERS = 16
_AT_WORK = 8
_LOOK_AGAIN_SECONDS = 1.3
_NOT_ASKED = ("waiting", "space", "clock")
"""What has to wait is over by then, or malformed; the disks are small; the daemon's clock was set."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a daemon holds: open descriptors, threads, inotify watches, resident memory in KiB."""

    descriptors: int
    threads: int
    watches: int
    memory: int

    @property
    def held(self) -> tuple[int, int]:
        """What comes and goes with work."""
        return self.descriptors, self.watches


def size_at_rest(simulated: SimulatedHost) -> Size:
    """What it holds when it has nothing to do: the same at two looks a second apart."""
    while (size := _size(simulated)).held != _later(simulated).held:
        pass
    return size


def _later(simulated: SimulatedHost) -> Size:
    time.sleep(_LOOK_AGAIN_SECONDS)
    return _size(simulated)


def _size(simulated: SimulatedHost) -> Size:
    """By the kernel's words (proc(5))."""
    process = Path(f"/proc/{simulated.service.pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    return Size(
        len(os.listdir(process / "fd")),
        int(status["Threads"]),
        simulated.service.watches(),
        int(status["VmRSS"].split()[0]),
    )


def assert_exactly_once(simulated: SimulatedHost) -> None:
    """Every commit that must be is one row, one journal line while its workspace is there, and its marker's."""
    rows = Counter(simulated.rows())
    assert max(rows.values(), default=1) == 1
    missing = simulated.must - rows.keys()
    assert not missing, f"lost: {sorted(missing)[:5]}"
    invented = rows.keys() - simulated.must - simulated.may
    assert not invented, f"nobody asked for: {[_told(simulated, one) for one in sorted(invented)[:5]]}"
    back = [one for one in rows if one[2:] in simulated.gone]
    assert not back, f"was pruned, and is back: {[_told(simulated, one) for one in sorted(back)[:5]]}"
    for dispatch in simulated.dispatches:
        lines = Counter((line["workspace"], line["updated_at"], line["runs"]) for line in dispatch.lines())
        twice = [line for line, count in lines.items() if count > 1]
        assert not twice, f"{dispatch.path}: {twice}"
        done = dispatch.pending is None or dispatch.is_marked() or simulated.is_taken_for_done(dispatch)
        assert done, dispatch.path
        assert not list(dispatch.path.glob(".meta/.commit*"))


def _told(simulated: SimulatedHost, identity: Identity) -> str:
    """An identity, with the journal of its workspace."""
    there = [one for one in simulated.dispatches if (one.root.key, one.name) == identity[:2]]
    lines = [(line["workspace"], line["updated_at"], line["runs"]) for one in there for line in one.lines()]
    former = [one.former for one in there]
    return f"{identity} (was {former}, pruned before {simulated.pruned_before}): {lines}"


def assert_records_agree(simulated: SimulatedHost) -> None:
    """By the program's own check, which compares every record with the others; the daemon tells once a second."""
    simulated.service.wait(lambda: not _problems(simulated), 30.0)


def _problems(simulated: SimulatedHost) -> list[str]:
    arguments = ["--config", str(simulated.service.config_file), "check", "--json"]
    document = json.loads(run(arguments, simulated.base, timeout=300).stdout)
    found = [one["error"] for one in document["rows"] if one["ok"] is False and one["check"] not in _NOT_ASKED]
    simulated.told.append(f"check: {found[:3]}")
    return found


def assert_not_grown(new: Size, old: Size) -> None:
    """After all that happened a daemon holds what a new one holds on the same tree.

    Threads that write are started when they are first needed, and stay; a reconcile may have a descriptor open.
    """
    told = f"{old} after all that happened, {new} at the start"
    assert old.descriptors <= new.descriptors + _AT_WORK, told
    assert old.threads <= new.threads + _WRITERS, told
    assert old.watches == new.watches, told
    assert old.memory <= new.memory + _GROWTH_KIB, told
