"""File signatures from stat(2): equal signatures mean an unchanged file, without reading it."""

from __future__ import annotations

import os
import struct

_SIGNATURE = struct.Struct("<QqqQ")
_pack = _SIGNATURE.pack
ABSENT = bytes(_SIGNATURE.size)
"""The signature of a missing file."""

_TICK_NS = 20_000_000
_COARSE_TICK_NS = 2_100_000_000

_CAN_ASK = os.access("/", os.F_OK, follow_symlinks=False)
"""False where a seccomp filter denies faccessat2(2): then every file would seem to be missing."""


def of(info: os.stat_result) -> bytes:
    """Inode, mtime, ctime and size, 32 bytes: equal signatures mean an unchanged file.

    ctime makes it trustworthy: an agent can set mtime with utime(2), but not ctime.
    """
    try:
        return _pack(info.st_ino, info.st_mtime_ns, info.st_ctime_ns, info.st_size)
    except struct.error:
        # An agent can set mtime beyond the year 2262.
        return _pack(info.st_ino, info.st_mtime_ns % 2**63, info.st_ctime_ns % 2**63, info.st_size)


def changed_at(signature: bytes) -> float | None:
    """The newest ctime of these concatenated signatures, in seconds since the epoch; None when there is none."""
    size = _SIGNATURE.size
    ctimes = [_SIGNATURE.unpack_from(signature, at)[2] for at in range(0, len(signature) - size + 1, size)]
    newest: int = max(ctimes, default=0)
    return newest / 1e9 or None


def is_settled(info: os.stat_result, now_ns: int) -> bool:
    """Whether the last change is old enough that a further change would get another time.

    The kernel's file clock ticks every 1 to 10 ms. Some file systems store whole seconds only, which their times show
    (ext4 with inodes of 128 bytes, some network file systems; FAT stores every other second).
    """
    tick = _COARSE_TICK_NS if info.st_ctime_ns % 1_000_000_000 == 0 else _TICK_NS
    return now_ns - info.st_ctime_ns > tick


def at(directory: int, path: str) -> bytes:
    """The signature of `path` below `directory`, ABSENT when stat fails: a hint, never a proof."""
    try:
        return of(os.stat(path, dir_fd=directory, follow_symlinks=False))
    except OSError:
        return ABSENT


def is_absent(directory: int, path: str) -> bool:
    """Whether `path` below `directory` is missing; cheaper than the exception of a failed stat."""
    if _CAN_ASK:
        return not os.access(path, os.F_OK, dir_fd=directory, follow_symlinks=False)
    return at(directory, path) == ABSENT
