"""Divides long work on the history into slices, between which commits get the write lock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

_HELD_SECONDS = 0.05
_LEAST, _MOST = 50, 5_000


class Slices:
    """`size` is the number of rows for the next slice, adapted so that it holds the write lock for about 50 ms."""

    def __init__(self) -> None:
        self.size = _LEAST
        self._held = 0.0

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Times the work of one slice inside its transaction, without the waits before and after."""
        started = time.monotonic()
        yield
        self._held = max(time.monotonic() - started, 0.001)
        self.size = min(max(int(self.size * min(_HELD_SECONDS / self._held, 2)), _LEAST), _MOST)

    def pause(self) -> None:
        """Release the history for a tenth of the time it was held. A waiting commit retries every 1 or 2 ms
        (history/store.py), on a slow host less often."""
        time.sleep(self._held / 10)
