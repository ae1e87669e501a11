"""Which file system a directory lies on (/proc/self/mountinfo, proc_pid_mountinfo(5)), and whether it sends events."""

from __future__ import annotations

import contextlib
import os
import re
import select
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

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
