"""Which file system a directory lies on (/proc/self/mountinfo, proc_pid_mountinfo(5)), and whether it sends events.

syncfs(2): one call makes all that was written to a file system durable, as cheap as a few fsyncs.

Only where that is certain and cheap: it also writes what everybody else has left to write.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import re
import select
import threading
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

_LOOK = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OCTAL = re.compile(r"\\(\d{3})")
_SILENT = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "glusterfs", "beegfs"})


def filesystem_type(directory: int) -> str | None:
    """The type (`ext4`, `nfs4`, `fuse.sshfs`) of the file system of an open directory; None when unknown."""
    device = os.fstat(directory).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            for line in mounts:
                fields, _, rest = line.partition(" - ")
                if fields.split()[2] == wanted:
                    return rest.split()[0]
    except (OSError, IndexError):
        return None
    return None


def filesystem_without_events(directory: int) -> str | None:
    """The type of the file system of an open directory when inotify cannot be relied on there, else None.

    inotify(7): it "does not report … events that occur on network filesystems"; most FUSE ones are as silent.
    What cannot be found out counts as a file system that sends events.
    """
    kind = filesystem_type(directory)
    return kind if kind is not None and is_silent(kind) else None


def is_silent(kind: str) -> bool:
    """Whether a type of file system sends no events that inotify could be relied on for."""
    return kind in _SILENT or kind == "fuse" or kind.startswith("fuse.")


class MountTable:
    """Whether anything was mounted or unmounted since it was last asked: the kernel tells without the table being read
    (proc_pid_mountinfo(5): POLLPRI). `close` it."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._descriptor = -1
        with contextlib.suppress(OSError):
            self._descriptor = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
            self._poll.register(self._descriptor, select.POLLPRI | select.POLLERR)

    def has_changed(self) -> bool:
        """True once after each change; where there is no such file never."""
        return bool(self._descriptor >= 0 and self._poll.poll(0))

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Mount(NamedTuple):
    """What is mounted at a place: numbers that no other mount has, and the type of its file system."""

    identity: str
    kind: str


def mounts_below(path: str) -> dict[str, Mount]:
    """What is mounted below a directory, by its path there; the topmost of several. Empty when that is not known."""
    above = os.path.realpath(path).rstrip("/") + "/"
    found = {}
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                fields, _, rest = line.partition(" - ")
                number, _, device, _, point = fields.split(" ", 5)[:5]
                point = _OCTAL.sub(lambda match: chr(int(match[1], 8)), point)
                if point.startswith(above):
                    found[point[len(above) :]] = Mount(f"{number} {device}", rest.split()[0])
    except (OSError, ValueError, IndexError):
        return {}
    return found


def unanswered(paths: Iterable[str], seconds: float = 1.0) -> dict[str, str]:
    """Of these directories those that do not answer in time, or below which a mount does not; by each, what it is.

    Each is asked by a thread of its own, which nobody waits for any longer.
    """
    asked = {path: path for path in paths}
    threads = {path: threading.Thread(target=_ask, args=(path, asked), daemon=True) for path in asked}
    for thread in threads.values():
        thread.start()
    end = time.monotonic() + seconds
    for thread in threads.values():
        thread.join(max(0.0, end - time.monotonic()))
    return {path: asked[path] for path, thread in threads.items() if thread.is_alive()}


def _ask(path: str, asked: dict[str, str]) -> None:
    with contextlib.suppress(OSError):
        os.close(os.open(path, _LOOK))
        for name, mount in mounts_below(path).items():
            if is_silent(mount.kind):
                asked[path] = os.path.join(path, name)
                with contextlib.suppress(OSError):
                    os.close(os.open(asked[path], _LOOK))


_CERTAIN = frozenset({"ext4", "xfs", "btrfs"})
_REPORTS_ERRORS = (5, 8)
"""Since Linux 5.8 syncfs reports failed writes, as fsync does (syncfs(2))."""
_QUIET_KIB = 32 * 1024
_UNWRITTEN = re.compile(r"\b(?:Dirty|Writeback):\s+(\d+) kB")


def is_fit(directory: int) -> bool:
    """Whether syncfs on this file system is as good as fsync, and nobody else has much to write.

    What cannot be found out counts as unfit.
    """
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if release is None or tuple(map(int, release.groups())) < _REPORTS_ERRORS:
        return False
    return _unwritten_kib() <= _QUIET_KIB and filesystem_type(directory) in _CERTAIN


def _unwritten_kib() -> int:
    """What the host has yet to write to all its disks, in KiB.

    By proc_meminfo(5), or where a hardened unit hides that (ProcSubset=pid) by each memory node's share of it.
    """
    for pattern in ("/proc/meminfo", "/sys/devices/system/node/node[0-9]*/meminfo"):
        with contextlib.suppress(OSError, ValueError):
            if found := [int(kib) for path in glob.glob(pattern) for kib in _UNWRITTEN.findall(_text(path))]:
                return sum(found)
    return _QUIET_KIB + 1


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def sync_filesystem(descriptor: int) -> None:
    """Sync the file system of an open file. Raises OSError, for what failed since the descriptor was opened too."""
    import ctypes  # not in the way of a single commit

    if _libc().syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@functools.cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)
