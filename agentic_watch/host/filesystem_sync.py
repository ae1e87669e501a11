"""syncfs(2): one call makes all that was written to a file system durable, as cheap as a few fsyncs.

Only where that is certain and cheap: it also writes what everybody else has left to write.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import re
from typing import Any

from agentic_watch.host.file_systems import filesystem_type

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
