"""A run is killed, or lied to by the kernel, at each of its system calls: the next run must put it right.

The whole takes minutes (`make test-faults`); the subset tries every so many points.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from . import points
from .points import EIO, ENOSPC, KILL, SHORT, Fault, Scenario
from .trace import Call

Calls = dict[str, list[Call]]

FEWEST = {"once": 80, "once, history lost": 120, "commit": 80}
"""Mutating calls that a run has at least: fewer would mean that the enumeration misses some."""


def befallen(calls: list[Call], fault: Fault) -> list[Call]:
    """The points that a fault can befall."""
    return [call for call in calls if fault.befalls(call)]


@pytest.mark.parametrize("name", FEWEST)
def test_enumeration_reaches_every_kind_of_step(calls_of: Calls, name: str) -> None:
    """The calls that are disturbed include the making, writing, syncing, renaming and removing of files."""
    mutating = befallen(calls_of[name], KILL)
    assert len(mutating) >= FEWEST[name]
    assert {"write", "pwrite64", "fsync", "fdatasync", "renameat", "openat", "mkdirat", "ftruncate", "unlink"} <= {
        call.call for call in mutating
    }
    assert len({call.thread for call in calls_of[name]}) == 1


@pytest.mark.parametrize(("fault", "step"), [(KILL, 20), (EIO, 60), (ENOSPC, 40), (SHORT, 30)], ids=lambda x: str(x))
def test_some_points(calls_of: Calls, scenarios: dict[str, Scenario], tmp_path: Path, fault: Fault, step: int) -> None:
    """At some points of a pass: stopped or failed there, the next run completes it, once."""
    some = befallen(calls_of["once"], fault)[step // 2 :: step]
    assert some
    assert points.try_all(scenarios["once"], fault, some, tmp_path) == []


WHOLE = [(name, KILL) for name in FEWEST] + [
    (name, fault) for fault in (EIO, ENOSPC, SHORT) for name in ("once", "once, history lost")
]


@pytest.mark.faults
@pytest.mark.parametrize(("name", "fault"), WHOLE, ids=str)
def test_every_point(calls_of: Calls, scenarios: dict[str, Scenario], tmp_path: Path, name: str, fault: Fault) -> None:
    """At every point: stopped or failed there, the next run completes it, once."""
    every = befallen(calls_of[name], fault)
    print(f"{name}, {fault}: {len(every)} points")
    assert points.try_all(scenarios[name], fault, every, tmp_path) == []


def of_jobs(calls: list[Call]) -> list[Call]:
    """The points of the processes that the first one starts: one process of each pair of a call and its number."""
    first = calls[0].thread
    return list({(call.call, call.nth): call for call in befallen(calls, KILL) if call.thread != first}.values())


def test_some_points_of_the_jobs(calls_of: Calls, scenarios: dict[str, Scenario], tmp_path: Path) -> None:
    """A job that is killed is done by another one, or by the next run: once."""
    some = of_jobs(calls_of["once, in jobs"])[3::9]
    reached, problems = points.try_jobs(scenarios["once, in jobs"], some, tmp_path)
    assert problems == []
    assert reached >= 6


@pytest.mark.faults
def test_every_point_of_the_jobs(calls_of: Calls, scenarios: dict[str, Scenario], tmp_path: Path) -> None:
    """At every call of whichever job."""
    every = of_jobs(calls_of["once, in jobs"])
    print(f"once, in jobs, {KILL}: {len(every)} points")
    reached, problems = points.try_jobs(scenarios["once, in jobs"], every, tmp_path)
    assert problems == []
    assert reached >= 0.9 * len(every)


@pytest.mark.faults
def test_kill_in_any_thread(calls_of: Calls, scenarios: dict[str, Scenario], tmp_path: Path) -> None:
    """With the threads of a real group, killed at the k-th sync or write of whichever thread gets there first."""
    assert calls_of["once"]
    found = []
    reached = 0
    for call in ("fsync", "write", "renameat", "fdatasync"):
        for nth in range(1, 6):
            base = tmp_path / f"{call}-{nth}"
            status, problems = points.kill_threads(scenarios["once"], call, nth, base)
            reached += status == points.SIGKILLED
            found += [f"killed at {call} #{nth}: {problem}" for problem in problems]
    assert found == []
    assert reached >= 10
