"""Whose what we make in a workspace is: its directory's owner's, when we are root."""

from __future__ import annotations

import functools
import os

from agentic_watch.workspace.workspace_errors import WorkspaceError


@functools.cache
def _us() -> tuple[int, int]:
    """Our effective user and group, which nothing here ever changes."""
    return os.geteuid(), os.getegid()


def own_as(descriptor: int, directory: int, label: str, *, made: bool = False) -> None:
    """As root, give what is open to the owner of `directory`. `made` just now, it is ours and our group's already.

    Raises WorkspaceError.
    """
    if _us()[0] != 0:
        return
    try:
        owner = os.fstat(directory)
        if not made or (owner.st_uid, owner.st_gid) != _us():
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
    except OSError as error:
        raise WorkspaceError(label, f"cannot be given to its owner: {error.strerror}", passing=True) from error
