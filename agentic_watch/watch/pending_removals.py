"""Watches on their way out. Each one that ends puts an event into the kernel's queue, so they go a few at a time.

What is watched anew first loses no watch at all: the kernel keeps one a directory, and it lasts until its last
subscriber is gone. So after the rename of a level, or when all is watched anew, next to nothing really ends.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from watchdog.observers.inotify_c import WatchDescriptor

from agentic_watch.watch.change_queues import RootQueue
from agentic_watch.watch.inotify_reader import InotifyReader

_SLICE = 128
_PAUSE_SECONDS = 0.002
_BREATH_SECONDS = 0.0005
_LONGEST_SECONDS = 5.0


class PendingRemovals:
    """Used from one root's thread. `reserve`, when it is set, brings more that can go when watches run short."""

    def __init__(self, reader: InotifyReader, queue: RootQueue) -> None:
        self._reader = reader
        self._queue = queue
        self._waiting: deque[WatchDescriptor] = deque()
        self.reserve: Callable[[], None] | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, watches: Iterable[WatchDescriptor]) -> None:
        """These may go."""
        self._waiting.extend(watches)

    def advance(self) -> None:
        """Let some go, as long as the kernel's queue is short."""
        while self._waiting and self._reader.has_room():
            self._remove_some()
            time.sleep(_BREATH_SECONDS)  # whoever waits for the reader's lock gets it

    def remove_now(self) -> bool:
        """Let all go, waiting for the reader; whether there was anything."""
        if self.reserve is not None:
            reserve, self.reserve = self.reserve, None
            reserve()
        if not self._waiting:
            return False
        deadline = time.monotonic() + _LONGEST_SECONDS
        while self._waiting and time.monotonic() < deadline:
            self.advance()
            if self._waiting:
                time.sleep(_PAUSE_SECONDS)
        self._remove_some()  # so that there is room now, whatever the reader does
        return True

    def _remove_some(self) -> None:
        count = min(_SLICE, len(self._waiting))
        self._reader.unsubscribe([self._waiting.popleft() for _ in range(count)], self._queue)
