"""Which processes are there, and since when: a process id alone may have been given to another one meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

_ENDED = (b"Z", b"X")
_STOPPED = (b"T", b"t")
_LEVELS_AT_MOST = 64
_SLACK_SECONDS = 2.0
"""How far the two clocks may be apart: the wall clock may have been stepped since."""


def is_stopped(pid: int) -> bool:
    """Whether a process stands still, by a signal or a debugger (proc_pid_stat(5)); in doubt it does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in _STOPPED
    except (OSError, IndexError):
        return False


def is_alive(pid: int, since_ns: int | None = None) -> bool:
    """Whether the process that had this id at `since_ns` (since the epoch) still runs; when in doubt, it does.

    A process that started later only has the same id, and a zombie runs no more (proc_pid_stat(5)). Without
    `since_ns` any process will do. One that may not be signalled, or that procfs does not show, is there.
    """
    if not 0 < pid < 2**31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything, also parentheses.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return True
    if since_ns is None:
        return fields[0] not in _ENDED
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return fields[0] not in _ENDED and time.time() - age <= since_ns / 1e9 + _SLACK_SECONDS


def ancestors() -> Iterator[tuple[int, list[str]]]:
    """The processes above us, the nearest first: their ids and command lines, as far as procfs shows them."""
    pid = os.getppid()
    for _ in range(_LEVELS_AT_MOST):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                yield pid, file.read(1 << 16).decode("utf-8", "surrogateescape").split("\0")
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except (OSError, IndexError, ValueError):
            return
