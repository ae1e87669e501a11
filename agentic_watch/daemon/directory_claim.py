"""A claim to a history that lies on its directory: no file that somebody may remove takes it away.

It is a lock of one byte of the directory, which belongs to the open descriptor and ends with it (fcntl(2), "Open file
description locks"). A directory can only be locked shared, so a claim is set first and others are looked for then.
flock(2) on the directory is taken already, by whoever makes or sets aside a history.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib

_FLOCK = "@hhqqi4x"
"""struct flock of 64-bit Linux: type, whence, start, length, pid (fcntl(2))."""


def claim(directory: int, name: str) -> bool:
    """Claim the file `name` of an open directory; False, and no claim, when another process holds one.

    Two that claim at one moment may both be refused. Raises OSError where the file system has no such locks.
    """
    _set(directory, name, fcntl.F_RDLCK)
    if is_claimed(directory, name):
        _set(directory, name, fcntl.F_UNLCK)
        return False
    return True


def is_claimed(directory: int, name: str) -> bool:
    """Whether another open descriptor holds a claim. Needs no more than the directory, open to read."""
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _byte(name), 1, 0)
    answer = fcntl.fcntl(directory, fcntl.F_OFD_GETLK, asked)
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _set(directory: int, name: str, kind: int) -> None:
    fcntl.fcntl(directory, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, _byte(name), 1, 0))


def _byte(name: str) -> int:
    """Which byte stands for a file: two files of one directory share one hardly ever."""
    return zlib.crc32(os.fsencode(name))
