"""File systems and mounts (/proc/self/mountinfo, proc_pid_mountinfo(5)): types, whether they send events, and
syncfs(2).

syncfs makes everything written to a file system durable by one call, as cheap as a few fsyncs. It is used only where it
is reliable and cheap, because it also writes data of other processes.
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
    """The type of the file system of an open directory if inotify is unreliable on it, else None.

    inotify(7): it "does not report … events that occur on network filesystems"; the same holds for most FUSE file
    systems. Unknown types count as reliable.
    """
    kind = filesystem_type(directory)
    return kind if kind is not None and is_silent(kind) else None


def is_silent(kind: str) -> bool:
    """Whether inotify is unreliable on this type of file system."""
    return kind in _SILENT or kind == "fuse" or kind.startswith("fuse.")


class MountTable:
    """Detects mounts and unmounts since the last call, without reading the table (proc_pid_mountinfo(5): POLLPRI). Call
    `close` at the end."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._descriptor = -1
        with contextlib.suppress(OSError):
            self._descriptor = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
            self._poll.register(self._descriptor, select.POLLPRI | select.POLLERR)

    def has_changed(self) -> bool:
        """True once after each change; always False without /proc."""
        return bool(self._descriptor >= 0 and self._poll.poll(0))

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Mount(NamedTuple):
    """A mount: unique numbers, and the type of its file system."""

    identity: str
    kind: str


def mounts_below(path: str) -> dict[str, Mount]:
    """The mounts below a directory by relative path; the topmost of several. Empty when unknown."""
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
    """The directories that do not answer in time, or that contain a mount that does not; maps each to what hangs.

    Each is tested in a separate thread, which is not waited for beyond the limit.
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
    """Whether syncfs on this file system is as reliable as fsync, and other processes have little unwritten data.

    False when unknown.
    """
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if release is None or tuple(map(int, release.groups())) < _REPORTS_ERRORS:
        return False
    return _unwritten_kib() <= _QUIET_KIB and filesystem_type(directory) in _CERTAIN


def _unwritten_kib() -> int:
    """Unwritten data of the host in KiB, from proc_meminfo(5), or from the memory nodes where a hardened unit hides it
    (ProcSubset=pid).
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
    """Sync the file system of an open file. Raises OSError, also for failed writes since the descriptor was opened."""
    import ctypes  # late: not needed for a single commit

    if _libc().syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@functools.cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)
