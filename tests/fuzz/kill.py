"""A pass in a process of its own, which ends, as by kill -9, at a call into the operating system or SQLite."""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Callable
from typing import Any

from .world import World

_CALLS = ("open", "write", "fsync", "rename", "replace", "unlink", "mkdir", "close", "ftruncate", "stat")
_KILLED = 137


def run_and_kill(world: World, at: int) -> bool:
    """Run one pass and end it at its `at`-th call; whether it got so far. The world must have no history open."""
    with warnings.catch_warnings():  # pytest's helpers have threads, which the child does not touch
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            _end_at(at)
            world.one_pass()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) == _KILLED


def _end_at(at: int) -> None:
    left = at

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os._exit(_KILLED)

    for name in _CALLS:
        setattr(os, name, _counted(getattr(os, name), count))
    connect = sqlite3.connect

    def traced(*given: Any, **named: Any) -> sqlite3.Connection:
        connection = connect(*given, **named)
        connection.set_trace_callback(count)
        return connection

    sqlite3.connect = traced


def _counted(real: Callable[..., Any], count: Callable[[], None]) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        count()
        return real(*given, **named)

    return call
