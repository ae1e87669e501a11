"""Whose what we make in a workspace is: its directory's owner's, when we are root."""

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
    """Our effective user and group, which nothing here ever changes."""
    return os.geteuid(), os.getegid()


def own_as(descriptor: int, directory: int, label: str, *, made: bool = False) -> None:
    """As root, give what is open to the owner of `directory`. `made` just now, it is ours and our group's already.

    Where that is refused to root, too (a user that its user namespace does not have, an NFS export with root_squash),
    it stays ours, as cp(1) leaves it; that is said once. Raises WorkspaceError for any other cause.
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
    """Give what is open the owner and the mode of another file. Raises WorkspaceError."""
    try:
        if (info.st_uid, info.st_gid) != _us():
            os.fchown(descriptor, info.st_uid, info.st_gid)
        os.fchmod(descriptor, info.st_mode & 0o7777)
    except OSError as error:
        cause = f"is another user's, and cannot be given to it ({error.strerror}); run this as root or as that user"
        raise WorkspaceError(label, cause, transient=True) from error


def _say_refused(user: int, group: int, cause: str) -> None:
    with _saying:  # several threads write at a time
        if (user, group) not in _said:
            _said.add((user, group))
            text = "what is made for the owner %d:%d cannot be given to it (%s) and stays root's"
            import logging  # 3 ms of each dispatch, which has nothing to log

            logging.getLogger("agentic_watch.workspace").warning(text, user, group, cause)
