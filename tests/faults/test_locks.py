"""A lock held by somebody is never waited for at length, and what could not be done is done by the next run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import points
from . import tree as trees
from .points import Scenario
from .tree import AGAIN, NEW, TORN, Tree

pytestmark = pytest.mark.faults

AT_LENGTH_SECONDS = 25.0


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold flock(2) on a directory, as any process may that can open it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(history: Path, mode: str) -> Iterator[None]:
    """Hold a transaction on the history."""
    connection = sqlite3.connect(history, isolation_level=None)
    try:
        connection.execute(f"BEGIN {mode}")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def once(tree: Tree) -> tuple[int, str]:
    """One pass, which must not take long; gives its exit status and stderr."""
    started = time.monotonic()
    done = tree.run("--once")
    assert time.monotonic() - started < AT_LENGTH_SECONDS
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_held_workspace_is_named_and_holds_up_no_other(scenarios: dict[str, Scenario], tmp_path: Path) -> None:
    """A workspace whose lock somebody keeps is a named failure; the others are committed meanwhile."""
    tree = scenarios["once"].fresh(tmp_path)
    with locked(tree.meta(AGAIN)):
        status, said = once(tree)
    assert status == 3
    assert AGAIN in said
    assert [trees.marker(tree, name) is not None for name in (NEW, TORN)] == [True, True]
    assert [line["runs"] for line in trees.lines(tree, AGAIN)] == [1]
    assert points.run_again(tree) == []


def test_locked_history_delays_only_rows(scenarios: dict[str, Scenario], tmp_path: Path) -> None:
    """While somebody writes to the history, lines and markers are made; the next run adds the rows."""
    tree = scenarios["once"].fresh(tmp_path)
    with writing(tree.history, "IMMEDIATE"):
        status, said = once(tree)
    assert status == 1
    assert "locked" in said
    assert trees.workspace_problems(tree) == []
    assert (NEW, 1) not in trees.rows(tree)
    assert points.run_again(tree) == []


def test_locked_directory_of_the_history_delays_only_rows(scenarios: dict[str, Scenario], tmp_path: Path) -> None:
    """Whoever can open the history's directory can lock it: that costs the rows of this run, nothing else."""
    tree = scenarios["once, history lost"].fresh(tmp_path)
    tree.history.parent.mkdir()
    with locked(tree.history.parent):
        status, said = once(tree)
    assert status == 1
    assert "holds the lock" in said
    assert trees.workspace_problems(tree) == []
    assert not tree.history.exists()
    assert points.run_again(tree) == []
