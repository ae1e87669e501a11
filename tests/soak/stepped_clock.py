"""Runs `python -m MODULE …` under a clock that somebody sets: `python stepped_clock.py FILE python -m MODULE …`.

FILE holds by how many nanoseconds the process's time of day is wrong, eight bytes that may change at any moment. Only
Python's `time` is wrong, which is what the program asks; the file systems' times are the host's, as on a network file
system. The monotonic clock goes on, as it does when a host's clock is set (clock_gettime(2)).
"""

from __future__ import annotations

import os
import runpy
import struct
import sys
import time
from pathlib import Path
from typing import Any

_OFFSET = struct.Struct("<q")


def step(file: Path, seconds: float) -> None:
    """Set the clock of whoever runs with this file."""
    with file.open("r+b" if file.exists() else "wb") as opened:
        opened.write(_OFFSET.pack(int(seconds * 1e9)))


def _take_over(file: str) -> None:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    real_ns, real_gmtime, real_localtime = time.time_ns, time.gmtime, time.localtime

    def time_ns() -> int:
        (offset,) = _OFFSET.unpack(os.pread(descriptor, _OFFSET.size, 0))
        return real_ns() + int(offset)

    def now() -> float:
        return time_ns() / 1e9

    replaced: dict[str, Any] = {
        "time_ns": time_ns,
        "time": now,
        "gmtime": lambda seconds=None: real_gmtime(now() if seconds is None else seconds),
        "localtime": lambda seconds=None: real_localtime(now() if seconds is None else seconds),
    }
    for name, function in replaced.items():
        setattr(time, name, function)


if __name__ == "__main__":
    _, file, _, _, module, *arguments = sys.argv
    _take_over(file)
    sys.path.pop(0)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
