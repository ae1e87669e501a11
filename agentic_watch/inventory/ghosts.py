"""Which running dispatches are ghosts: their process is gone."""

from __future__ import annotations

import os


def is_ghost(status: str, pid: int) -> bool:
    """Whether a dispatch says it is running while its process is gone (kill(2) with signal 0)."""
    if status != "running" or not 0 < pid < 2**31:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
