"""Whose are the history and what lies beside it? They must be the service user's, or no row is ever written.

Root may have made them before there was a service: by `agentic-watch --once`, or by a restore.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from agentic_watch.service import units
from agentic_watch.service.service_user import Account, not_writable

_SUFFIXES = ("", "-wal", "-shm", ".daemon", ".cookie")
_NEEDED = ("", "-wal", "-shm")


def foreign(history: str, account: Account) -> list[str]:
    """The state directory and the files in it that the account cannot write. Only root may ask for another's."""
    return not_writable(account, [path for path in _paths(history) if os.path.lexists(path)])


def needed(history: str) -> list[str]:
    """What must be written for a row: the history, its log, and the directory that the log is made in."""
    real = os.path.realpath(history)
    return [os.path.dirname(real), *(real + suffix for suffix in _NEEDED)]


def give(paths: list[str], account: Account) -> Iterator[str]:
    """Give each to the account; gives those that were. As root only. Raises OSError.

    Never by a link, nor a file with a second name: the service's user may have made these names itself, and what
    they lead to would become its own. Nor a directory that may hold other things.
    """
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            info = os.fstat(descriptor)
            if path == units.STATE or (stat.S_ISREG(info.st_mode) and info.st_nlink == 1):
                os.fchown(descriptor, account.uid, account.gid)
                os.fchmod(descriptor, stat.S_IMODE(info.st_mode) | (0o700 if stat.S_ISDIR(info.st_mode) else 0o600))
                yield path
        finally:
            os.close(descriptor)


def _paths(history: str) -> Iterator[str]:
    """The history's directory and what the program keeps there; in one of its own, all that is in it."""
    real = os.path.realpath(history)
    directory = os.path.dirname(real)
    yield directory
    if directory != units.STATE:
        yield from (real + suffix for suffix in _SUFFIXES)
        return
    try:
        yield from (os.path.join(directory, name) for name in sorted(os.listdir(directory)))
    except OSError:
        return
