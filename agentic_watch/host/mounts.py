"""Which file system a directory lies on (/proc/self/mountinfo, proc_pid_mountinfo(5))."""

from __future__ import annotations

import os


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
