"""Computes another user's permissions on a file from mode and ACL (acl(5)), when the kernel cannot be asked as that
user."""

from __future__ import annotations

import contextlib
import os
import struct
from typing import NamedTuple

_ACL = "system.posix_acl_access"
_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")  # tag, permissions, id: include/uapi/linux/posix_acl_xattr.h
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_WRITE, _SEARCH = 2, 1


class User(NamedTuple):
    """A user: its name, or its number if it has none, and the ids of its groups."""

    name: str
    uid: int
    groups: frozenset[int]


def other_owner_of(path: str) -> User | None:
    """The owner of a file, or of its directory if the file is not accessible.

    None when neither exists, or when the owner is this user or root.
    """
    uid = next((uid for place in (path, os.path.dirname(path)) if (uid := _owner(place)) is not None), None)
    if uid in (None, 0, os.geteuid()):
        return None
    import pwd

    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(str(uid), uid, frozenset())
    return User(entry.pw_name, uid, frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def _owner(path: str) -> int | None:
    try:
        return os.stat(path).st_uid
    except OSError:
        return None


def cannot_write(user: User, directory: str) -> bool:
    """Whether a user certainly cannot create files in a directory; False also when unknown."""
    try:
        above, here = [], directory
        while here != (parent := os.path.dirname(here)):
            above.append(here := parent)
        return not _may(user, directory, _WRITE | _SEARCH) or not all(_may(user, one, _SEARCH) for one in above)
    except OSError:
        return False


def _may(user: User, path: str, wanted: int) -> bool:
    """The access check of acl(5). Raises OSError."""
    info = os.stat(path)
    mode = info.st_mode
    entries = [(_USER_OBJ, mode >> 6 & 7, 0), (_GROUP_OBJ, mode >> 3 & 7, 0), (_OTHER, mode & 7, 0)]
    if mode & 0o070:  # an ACL whose mask allows nothing is not asked (Linux, fs/namei.c)
        with contextlib.suppress(OSError):  # there is none, or the file system has none
            entries = list(_ENTRY.iter_unpack(os.getxattr(path, _ACL)[_HEADER.size :]))
    mask = next((permissions for tag, permissions, _ in entries if tag == _MASK), 7)
    if user.uid == info.st_uid:
        return any(tag == _USER_OBJ and permissions & wanted == wanted for tag, permissions, _ in entries)
    for tag, permissions, uid in entries:
        if tag == _USER and uid == user.uid:
            return permissions & mask & wanted == wanted
    groups = [
        permissions & mask
        for tag, permissions, gid in entries
        if (tag == _GROUP and gid in user.groups) or (tag == _GROUP_OBJ and info.st_gid in user.groups)
    ]
    if groups:
        return any(permissions & wanted == wanted for permissions in groups)
    return any(tag == _OTHER and permissions & wanted == wanted for tag, permissions, _ in entries)
