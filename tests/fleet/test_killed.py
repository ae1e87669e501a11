"""A pusher that is killed at any step, and then run again, leaves each commit there exactly once."""

from __future__ import annotations

import functools
import operator
import os
import signal
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from agentic_watch.config import Target
from agentic_watch.fleet import one_push, postgres_target
from agentic_watch.fleet.outbox import Largest
from fleet import samples
from fleet.conftest import Database

ROOM = os.path.dirname(one_push.__file__)
COMMITS = 25
SAMPLED = 20
PARTS = 4
"""Every step is many; the parts may run side by side."""


def xor(commit_ids: Iterable[str]) -> int:
    return functools.reduce(operator.xor, (uuid.UUID(one).int for one in commit_ids), 0)


class Steps:
    """Counts the lines of the fleet's room that are run, and kills the process before one of them."""

    def __init__(self, fatal: int) -> None:
        self.count = 0
        self._fatal = fatal

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(ROOM):
            return None
        if event == "line":
            self.count += 1
            if self.count == self._fatal:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def push_in_child(history: Path, target: Target, fatal: int | None = None) -> int | None:
    """Push in a process of its own; gives how many steps it took (0: not counted), None when it was killed.

    `fatal` is the step at which it is killed, 0 for none of them.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            steps = Steps(fatal or 0)
            if fatal is not None:
                sys.settrace(steps)
            with one_push.opened(str(history)) as opened:
                pushed = one_push.push(target, opened)
            sys.settrace(None)
            os.write(writing, f"{steps.count} {pushed.error}".encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    said = os.read(reading, 10_000).decode()
    os.close(reading)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.WEXITSTATUS(status) == 0
    count, _, error = said.partition(" ")
    assert error == "None"
    return int(count)


@pytest.fixture
def target(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    """A target that takes few commits at a time, so that a push has many steps."""
    monkeypatch.setattr(postgres_target.PostgresTarget, "largest", Largest(10, 2**20))
    secret = tmp_path / "dsn"
    secret.write_text(database.dsn(), "utf-8")
    return Target("fleet", "postgres", dsn_file=str(secret))


def kill_at(places: Iterable[int], database: Database, target: Target, history: Path) -> None:
    """Kill a first push at each place, push again, and look whether everything is there once."""
    ids = samples.fill(history, range(COMMITS))
    for place in places:
        for path in history.parent.glob("push.db*"):
            path.unlink()
        database.query("TRUNCATE dispatches, findings, hosts, host_boots")
        push_in_child(history, target, place)
        assert push_in_child(history, target) is not None
        found = database.commits()
        assert (len(found), xor(found)) == (COMMITS, xor(ids)), place
        ((findings,),) = database.query("SELECT count(*) FROM findings")
        assert findings == 2 * len(range(0, COMMITS, 3)), place


def steps_of_a_push(target: Target, base: Path) -> int:
    samples.fill(base / "whole.db", range(COMMITS))
    count = push_in_child(base / "whole.db", target, 0)
    assert count is not None
    assert count > 10 * SAMPLED
    return count


def test_killed_at_some_steps(database: Database, target: Target, tmp_path: Path) -> None:
    """Killed at steps spread over the whole push, the next push ends it."""
    (tmp_path / "count").mkdir()
    steps = steps_of_a_push(target, tmp_path / "count")
    kill_at(range(1, steps, steps // SAMPLED), database, target, tmp_path / "history.db")


@pytest.mark.faults
@pytest.mark.fleet
@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_every_step(database: Database, target: Target, tmp_path: Path, part: int) -> None:
    """Killed before each line of the fleet's room that a push runs, the next push ends it."""
    (tmp_path / "count").mkdir()
    steps = steps_of_a_push(target, tmp_path / "count")
    kill_at(range(1 + part, steps, PARTS), database, target, tmp_path / "history.db")
