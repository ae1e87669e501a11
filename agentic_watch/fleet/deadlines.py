"""No wait without an end: a peer that says nothing, or a byte now and then, is cut off from outside."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def cut_after(seconds: float, cut: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Call `cut` from another thread unless the block ends in time; what it yields says whether that happened.

    Libraries bound each read, not the sum of them: what reads has to find its connection closed.
    """
    fired = threading.Event()

    def fire() -> None:
        fired.set()
        with contextlib.suppress(OSError):
            cut()

    timer = threading.Timer(seconds, fire)
    timer.daemon = True
    timer.start()
    try:
        yield fired.is_set
    finally:
        timer.cancel()
        timer.join()


SLOWEST_BYTES_A_SECOND = 16 * 1024


def longest(seconds: float, commits: int, size: int) -> float:
    """How long a batch may take: so many seconds, and a single commit as long as a slow link needs for its bytes."""
    return seconds + (size / SLOWEST_BYTES_A_SECOND if commits == 1 else 0.0)


def shut(descriptor: int) -> None:
    """Shut a connected socket down, so that whoever waits for it reads its end. Raises OSError."""
    with socket.socket(fileno=os.dup(descriptor)) as same:
        same.shutdown(socket.SHUT_RDWR)
