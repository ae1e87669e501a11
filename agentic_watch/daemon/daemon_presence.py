"""Whether a daemon is there for a history: by its lock, and by its claim. For whoever wants to know no more than that.

Apart from `daemon_state`, which needs all that a daemon can say of itself: `dispatch` asks this at the end of each run.

A claim to a history that lies on its directory: no file that somebody may remove takes it away.

It is a lock of one byte of the directory, which belongs to the open descriptor and ends with it (fcntl(2), "Open file
description locks"). A directory can only be locked shared, so a claim is set first and others are looked for then.
flock(2) on the directory is taken already, by whoever makes or sets aside a history.
"""

from __future__ import annotations

import errno
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


_SUFFIX = ".daemon"
FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def file_of(history: str) -> str:
    """The instance file of a history. Two names of one history are one: symlinks are resolved."""
    return os.path.realpath(history) + _SUFFIX


def is_there(history: str) -> bool:
    """Whether a daemon runs for this history.

    Needs only read permission and never makes the file. Raises OSError when the file is there but cannot be read.
    """
    path = file_of(history)
    try:
        descriptor = os.open(path, os.O_RDONLY | FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return is_claimed_beside(path)
    try:
        return is_held(descriptor, path)
    finally:
        os.close(descriptor)


def is_held(descriptor: int, path: str) -> bool:
    """Whether a daemon holds the open instance file `path`: to find out it is locked shared, for an instant."""
    if not lock(descriptor, fcntl.LOCK_SH):
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return is_claimed_beside(path)


def is_claimed_beside(path: str) -> bool:
    """Whether the instance file `path` is claimed by its directory: by a daemon whose file was removed."""
    try:
        directory = os.open(os.path.dirname(path), DIRECTORY)
    except OSError:
        return False
    try:
        return is_claimed(directory, os.path.basename(path))
    except OSError:
        return False
    finally:
        os.close(directory)


def lock(descriptor: int, kind: int) -> bool:
    """Take flock(2) without waiting; False when somebody holds it."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
