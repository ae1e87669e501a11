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
_OF_THE_PUSHER = ("host_id", "push", "push.db", "push/push.db")
_BESIDE = (*_OF_THE_PUSHER, "push.db-journal", "lost+found")
"""What may lie beside a history that has a directory, or a disk, of its own."""


def foreign(history: str, account: Account) -> list[str]:
    """The state directory and the files in it that the account cannot write. Only root may ask for another's."""
    return not_writable(account, [path for path in _paths(history) if os.path.lexists(path)])


def give(history: str, paths: list[str], account: Account) -> Iterator[str]:
    """Give each to the account that may be given; gives those that were. As root only. Raises OSError.

    Never by a link, nor a file with a second name: the service's user may have made these names itself, and what
    they lead to would become its own. Nor a directory that holds other things than ours.
    """
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            info = os.fstat(descriptor)
            if _may_be_given(history, path, info):
                os.fchown(descriptor, account.uid, account.gid)
                os.fchmod(descriptor, stat.S_IMODE(info.st_mode) | (0o700 if stat.S_ISDIR(info.st_mode) else 0o600))
                yield path
        finally:
            os.close(descriptor)


def can_be_given(history: str, path: str) -> bool:
    """Whether `give` would give it."""
    try:
        return _may_be_given(history, path, os.lstat(path))
    except OSError:
        return False


def _may_be_given(history: str, path: str, info: os.stat_result) -> bool:
    if not stat.S_ISDIR(info.st_mode):
        return stat.S_ISREG(info.st_mode) and info.st_nlink == 1
    if path == units.STATE:
        return True
    own, names = os.path.basename(os.path.realpath(history)), os.listdir(path)
    return own in names and all(name.startswith(own) or name in _BESIDE for name in names)


def _paths(history: str) -> Iterator[str]:
    """The history's directory and what the program keeps there: what else lies there is its owner's."""
    real = os.path.realpath(history)
    directory = os.path.dirname(real)
    yield directory
    yield from (real + suffix for suffix in _SUFFIXES)
    yield from (os.path.join(directory, name) for name in _OF_THE_PUSHER)
