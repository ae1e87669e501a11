"""What a file looks like to stat(2): equal signatures mean an unchanged file, without reading it."""

from __future__ import annotations

import os
import struct

_SIGNATURE = struct.Struct("<QqqQ")
_pack = _SIGNATURE.pack
ABSENT = bytes(_SIGNATURE.size)
"""Stands for the signature of a file that is not there."""

_CAN_ASK = os.access("/", os.F_OK, follow_symlinks=False)
"""Not where a seccomp filter denies faccessat2(2), which it may not know: every answer would be no."""


def of(info: os.stat_result) -> bytes:
    """Inode, mtime, ctime and size, 32 bytes: equal signatures mean an unchanged file.

    ctime is what makes it trustworthy: an agent can set mtime with utime(2), ctime it cannot.
    """
    try:
        return _pack(info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_size)
    except struct.error:
        # An agent can set mtime beyond the year 2262.
        return _pack(info.st_ino, info.st_mtime_ns % 2**63, info.st_ctime_ns % 2**63, info.st_size)


def at(directory: int, path: str) -> bytes:
    """The signature of `path` below `directory`, or ABSENT when it cannot be had: a hint, never a proof."""
    try:
        return of(os.stat(path, dir_fd=directory, follow_symlinks=False))
    except OSError:
        return ABSENT


def is_absent(directory: int, path: str) -> bool:
    """Whether there is nothing at `path` below `directory`: what a stat tells too, by an error that costs more."""
    if _CAN_ASK:
        return not os.access(path, os.F_OK, dir_fd=directory, follow_symlinks=False)
    return at(directory, path) == ABSENT
