"""The directory of the history: made durably, and locked while a history is made, upgraded or set aside."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator

_LOCK_PAUSE_SECONDS = 0.01


def make_directories(directory: str) -> None:
    """Make the history's directory durably: SQLite syncs what is in it, not its own name."""
    if os.path.isdir(directory):
        return
    parent = os.path.dirname(directory)
    make_directories(parent)
    with contextlib.suppress(FileExistsError):
        os.mkdir(directory)
    descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def directory_lock(directory: str, patience_ms: int) -> Iterator[None]:
    """One process at a time makes, upgrades or sets aside a history. Closing the descriptor unlocks.

    Raises OSError when another process does not let go in time.
    """
    deadline = time.monotonic() + patience_ms / 1000
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock on its directory")
            time.sleep(_LOCK_PAUSE_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
