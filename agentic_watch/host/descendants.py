"""What a command started and left behind: found, and ended with it, whatever session it went into."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator

_PR_SET_CHILD_SUBREAPER = 36
_SECONDS = 5.0


@contextlib.contextmanager
def none_left() -> Iterator[None]:
    """End every process that began below this one meanwhile. What may not be signalled (set-user-ID) is left.

    Orphans become children of this process, so that they are found (prctl(2), PR_SET_CHILD_SUBREAPER); that stays so.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = _below()
    try:
        yield
    finally:
        until = time.monotonic() + _SECONDS
        while (left := _below() - before) and time.monotonic() < until and _kill(left):
            time.sleep(0.005)


def _kill(those: set[int]) -> bool:
    """Kill processes and take leave of those that are our children; False when none may be killed."""
    killed = 0
    for pid in those:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return killed > 0


def _below() -> set[int]:
    """The processes that this one started, and those that they did."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and (parent := _parent(int(name))):
            children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    left = [os.getpid()]
    while left:
        new = children.get(left.pop(), [])
        found.update(new)
        left += new
    return found


def _parent(pid: int) -> int:
    """The parent's id (proc_pid_stat(5)); 0 when the process is gone or hidden."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything, also parentheses.
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0
