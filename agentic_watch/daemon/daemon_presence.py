"""Tells whether a daemon runs for a history, from its lock and its claim.

Separate from `daemon_state`, whose imports are heavier: `dispatch` checks this at the end of each run.

A claim is a lock on the history's directory, which no removed file can undo: one byte of the directory, locked by the
open descriptor until it is closed (fcntl(2), "Open file description locks"). A directory can only be locked shared, so
a claim is set first and others are looked for afterwards. flock(2) on the directory is already used when a history is
created or set aside.
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

    Two simultaneous claims may both be refused. Raises OSError where the file system has no such locks.
    """
    _set(directory, name, fcntl.F_RDLCK)
    if is_claimed(directory, name):
        _set(directory, name, fcntl.F_UNLCK)
        return False
    return True


def is_claimed(directory: int, name: str) -> bool:
    """Whether another open descriptor holds a claim. The directory only has to be open for reading."""
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, _byte(name), 1, 0)
    answer = fcntl.fcntl(directory, fcntl.F_OFD_GETLK, asked)
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)


def _set(directory: int, name: str, kind: int) -> None:
    fcntl.fcntl(directory, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, _byte(name), 1, 0))


def _byte(name: str) -> int:
    """The byte that stands for a file; two files of one directory rarely share one."""
    return zlib.crc32(os.fsencode(name))


_SUFFIX = ".daemon"
FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def file_of(history: str) -> str:
    """Path of the instance file of a history, with symlinks resolved."""
    return os.path.realpath(history) + _SUFFIX


def is_there(history: str) -> bool:
    """Whether a daemon runs for this history.

    Needs only read permission and never creates the file. Raises OSError when the file exists but cannot be read.
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
    """Whether a daemon holds the open instance file `path`; tested by a brief shared lock."""
    if not lock(descriptor, fcntl.LOCK_SH):
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return is_claimed_beside(path)


def is_claimed_beside(path: str) -> bool:
    """Whether a daemon claims the instance file `path` on its directory, even if the file was removed."""
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
    """Take flock(2) without waiting; False when another process holds it."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True
