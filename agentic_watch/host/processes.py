"""Processes and their start times, since a pid may be reused; ending a command's remaining children; returning freed
memory to the host.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from agentic_watch.host.retry import every, wait_until

_ENDED = (b"Z", b"X")
_STOPPED = (b"T", b"t")
_LEVELS_AT_MOST = 64
_PF_KTHREAD = 0x00200000  # include/linux/sched.h; field 9 of proc_pid_stat(5)
SLACK_SECONDS = 2.0
"""Tolerance between the two clocks, since the wall clock may have been stepped."""


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal or a debugger (proc_pid_stat(5)); False when unknown."""
    try:
        return _stat_fields(pid)[0] in _STOPPED
    except (OSError, IndexError):
        return False


class Here(NamedTuple):
    """The context in which a process id is valid: this boot of the host ("" when unknown) and this process's pid and
    time namespaces. `booted_at` is in seconds since the epoch, by the current clock."""

    boot: str
    namespaces: str
    booted_at: float


def here() -> Here:
    """The boot and namespaces of this process."""
    return Here(*_boot_and_namespaces(), time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))


@functools.cache
def _boot_and_namespaces() -> tuple[str, str]:
    """Constant for a process, so read once (proc_sys_kernel(5), namespaces(7))."""
    boot, names = "", []
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", "rb") as file:
        boot = file.read(64).decode("ascii", "replace").strip()
    for kind in ("pid", "time"):
        with suppress(OSError):
            names.append(os.readlink(f"/proc/self/ns/{kind}"))
    return boot, " ".join(names)


NOT_SHOWN = -1


def began(pid: int) -> int | None:
    """The start of a process in clock ticks since the boot (proc_pid_stat(5), field 22): unique together with its id.

    NOT_SHOWN when it exists but is hidden in procfs; None when it is gone or a zombie.
    """
    if not _is_there(pid):
        return None
    try:
        fields = _stat_fields(pid)
    except OSError:
        return NOT_SHOWN if _is_there(pid) else None
    return int(fields[19]) if fields[0] not in _ENDED else None


def is_of_kernel(pid: int) -> bool:
    """Whether it is a kernel thread; False when unknown. Kernel threads have most of the low pids, as do processes in
    containers."""
    try:
        return bool(int(_stat_fields(pid)[6]) & _PF_KTHREAD)
    except (OSError, IndexError, ValueError):
        return False


def wall_time(began_at: int) -> float:
    """Convert a start, `began_at` ticks after the boot, to seconds since the epoch."""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - began_at / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def _is_there(pid: int) -> bool:
    """Whether a process with this id exists, even if it may not be signalled."""
    if not 0 < pid < 2**31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _stat_fields(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state on. Raises OSError."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name in parentheses may contain parentheses.
        return file.read().rpartition(b")")[2].split()


def is_alive(pid: int, since_ns: int | None = None) -> bool:
    """Whether the process that had this id at `since_ns` (since the epoch) still runs; True when in doubt.

    A process that started later only reuses the id, and a zombie has ended (proc_pid_stat(5)). Without `since_ns` any
    process with the id counts, as does one that may not be signalled or is hidden in procfs.
    """
    began_at = began(pid)
    if began_at is None or began_at == NOT_SHOWN or since_ns is None:
        return began_at is not None
    return wall_time(began_at) <= since_ns / 1e9 + SLACK_SECONDS


def ancestors() -> Iterator[tuple[int, list[str]]]:
    """The ancestor processes, nearest first: ids and command lines, as far as visible in procfs."""
    pid = os.getppid()
    for _ in range(_LEVELS_AT_MOST):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                yield pid, file.read(1 << 16).decode("utf-8", "surrogateescape").split("\0")
        except OSError:
            return
        if not (pid := _parent(pid)):
            return


_PR_SET_CHILD_SUBREAPER = 36
_SECONDS = 5.0


@contextlib.contextmanager
def none_left() -> Iterator[None]:
    """End every process that was started below this one during the block, except those we may not signal (set-user-ID).

    Orphans become children of this process, so that they are found (prctl(2), PR_SET_CHILD_SUBREAPER); this setting
    remains.
    """
    import ctypes  # late: takes a millisecond, and only a dispatch needs it

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = _below()
    try:
        yield
    finally:
        wait_until(lambda: not (left := _below() - before) or not _kill(left), every(0.005, _SECONDS))


def _kill(those: set[int]) -> bool:
    """Kill processes and reap those that are our children; False when none could be killed."""
    killed = 0
    for pid in those:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
            killed += 1
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return killed > 0


def _below() -> set[int]:
    """The descendants of this process."""
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
        return int(_stat_fields(pid)[1])
    except (OSError, IndexError, ValueError):
        return 0


_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""malloc.h"""
_LARGE_BYTES = 1 << 20


@functools.cache
def give_back_large_blocks() -> None:
    """Return blocks over 1 MiB to the host as soon as they are freed, and let new threads share a heap.

    glibc otherwise raises its threshold after each large block, up to 64 MiB per arena, and gives each thread an arena,
    whose free memory no other thread uses (mallopt(3)). Other C libraries have neither this call nor this behaviour.
    """
    import ctypes  # late: takes 2 ms, and only commits need it

    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_ARENA_MAX, 1)


def give_back_free_memory() -> None:
    """Return the free pages of the heap to the host, those between used ones too (malloc_trim(3), glibc only)."""
    import ctypes

    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
