"""Freed memory goes back to the host: what one large report took is not kept for the next."""

from __future__ import annotations

import contextlib
import functools

_M_MMAP_THRESHOLD = -3
"""malloc.h"""
_LARGE_BYTES = 1 << 20


@functools.cache
def give_back_large_blocks() -> None:
    """Have what is larger than 1 MiB go back as soon as it is freed.

    glibc keeps more after each large block that was freed, up to 64 MiB in each thread's share (mallopt(3)). Another C
    library has no such call, and no such habit.
    """
    import ctypes  # 2 ms, and not needed where nothing is committed

    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
