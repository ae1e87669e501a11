"""Gives new files in a workspace to the owner of their directory, when we run as root."""

from __future__ import annotations

import errno
import functools
import os
import threading

from agentic_watch.workspace.workspace_errors import WorkspaceError

_REFUSED = (errno.EPERM, errno.EINVAL)
_saying = threading.Lock()
_said: set[tuple[int, int]] = set()


@functools.cache
def _us() -> tuple[int, int]:
    """Our effective user and group, which never change."""
    return os.geteuid(), os.getegid()


def own_as(descriptor: int, directory: int, label: str, *, made: bool = False) -> None:
    """As root, give an open file to the owner of `directory`. A file `made` just now is already ours and our group's.

    Where root may not do so either (a user outside its user namespace, an NFS export with root_squash), it stays
    root's, as with cp(1), and a warning is logged once. Raises WorkspaceError for any other error.
    """
    if _us()[0] != 0:
        return
    try:
        owner = os.fstat(directory)
        if not made or (owner.st_uid, owner.st_gid) != _us():
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise WorkspaceError(label, f"cannot be given to its owner: {error.strerror}", transient=True) from error
        _say_refused(owner.st_uid, owner.st_gid, error.strerror or "")


def own_like(descriptor: int, info: os.stat_result, label: str) -> None:
    """Give an open file the owner and mode of another file. Raises WorkspaceError."""
    try:
        if (info.st_uid, info.st_gid) != _us():
            os.fchown(descriptor, info.st_uid, info.st_gid)
        os.fchmod(descriptor, info.st_mode & 0o7777)
    except OSError as error:
        cause = f"belongs to another user ({error.strerror}); run this as root or as that user"
        raise WorkspaceError(label, cause, transient=True) from error


def _say_refused(user: int, group: int, cause: str) -> None:
    with _saying:  # several threads may write at once
        if (user, group) not in _said:
            _said.add((user, group))
            text = "new files cannot be given to their owner %d:%d (%s) and stay root's"
            import logging  # late: `dispatch` logs nothing, and the import takes 3 ms

            logging.getLogger("agentic_watch.workspace").warning(text, user, group, cause)
