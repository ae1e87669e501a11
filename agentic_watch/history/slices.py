"""Long work on the history in slices: between two of them whoever commits gets its turn."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

_SLICE_SECONDS = 0.05
_FIRST, _LARGEST = 100, 5_000


class Slices:
    """`size` is how many rows the next slice may have: so many as take about 50 ms.

    A commit that waits asks again after 25 ms at most by then (SQLite's busy handler), so the pause after a slice is
    half as long as the slice.
    """

    def __init__(self) -> None:
        self.size = _FIRST

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """The time of one slice; pauses at its end."""
        started = time.monotonic()
        yield
        took = max(time.monotonic() - started, 0.001)
        self.size = min(max(int(self.size * min(_SLICE_SECONDS / took, 2)), 1), _LARGEST)
        time.sleep(min(took, _SLICE_SECONDS) / 2)
