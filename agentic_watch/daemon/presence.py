"""Whether a daemon is there for a history: by its lock, and by its claim. For whoever wants to know no more than that.

Apart from `instance`, which needs all that a daemon can say of itself: `dispatch` asks this at the end of each run.
"""

from __future__ import annotations

import errno
import fcntl
import os

from agentic_watch.daemon.directory_claim import is_claimed

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
