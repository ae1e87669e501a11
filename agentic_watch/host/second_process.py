"""Half of some reading done by a second process: where most of the time is Python's own, two threads are one."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

_Item = TypeVar("_Item")

WORTH_IT = 1_000
"""Fewer items are not worth the start of a process."""
_CHUNK = 1 << 20


def in_two_processes(step: Callable[[Sequence[_Item]], list[Any]], items: Sequence[_Item]) -> list[Any]:
    """What `step` gives for all items, in their order; the second half is done by a fork when that is worth it.

    `step` gives one plain value (tuples, texts, numbers) an item, and changes nothing. A fork takes along whatever
    lock another thread holds, so there is none beside other threads; one that fails has its half done here.
    """
    middle = len(items) // 2
    if len(items) < WORTH_IT or threading.active_count() > 1 or processors() < 2:
        return step(items)
    try:
        answer, pid = _start(step, items[middle:])
    except OSError:  # no process, no pipe to be had
        return step(items)
    try:
        first = step(items[:middle])
        second = _read(answer)
    finally:
        os.close(answer)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return first + (step(items[middle:]) if second is None else second)


def processors() -> int:
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except OSError:  # a strict seccomp filter
        return 1


def _start(step: Callable[[Sequence[_Item]], list[Any]], items: Sequence[_Item]) -> tuple[int, int]:
    answer, tell = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(answer)
        os.close(tell)
        raise
    if pid == 0:
        _answer(tell, step, items)
    os.close(tell)
    return answer, pid


def _answer(tell: int, step: Callable[[Sequence[_Item]], list[Any]], items: Sequence[_Item]) -> None:
    """The second process. Never returns."""
    try:
        said = memoryview(pickle.dumps(step(items)))
        while said:
            said = said[os.write(tell, said) :]
    finally:
        os._exit(0)  # whatever happened: an answer without its end counts as none


def _read(answer: int) -> list[Any] | None:
    said = bytearray()
    while piece := os.read(answer, _CHUNK):
        said += piece
    try:
        found: list[Any] = pickle.loads(said)  # noqa: S301  our own fork wrote it
    except (EOFError, pickle.UnpicklingError):
        return None
    return found
