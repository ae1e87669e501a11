"""A command in a process of its own, which ends, as by kill -9, at a call into the operating system or SQLite."""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Callable
from typing import Any

from .world import World

_CALLS = ("open", "write", "fsync", "rename", "replace", "unlink", "mkdir", "close", "ftruncate", "stat")
_KILLED = 137


def run_and_kill(world: World, arguments: tuple[str, ...], at: int) -> None:
    """Run one command and end it at its `at`-th call, if it comes so far. The world must have no daemon."""
    with warnings.catch_warnings():  # pytest's helpers have threads, which the child does not touch
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            _end_at(at)
            world.program.run(*arguments)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _end_at(at: int) -> None:
    left = at

    def count(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os._exit(_KILLED)

    for name in _CALLS:
        setattr(os, name, _counted(getattr(os, name), count))
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    def traced(*given: Any, **named: Any) -> sqlite3.Connection:
        connection = connect(*given, **named)
        connection.set_trace_callback(count)
        return connection

    sqlite3.connect = traced  # type: ignore[assignment]


def _counted(real: Callable[..., Any], count: Callable[[], None]) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        count()
        return real(*given, **named)

    return call
