"""watchdog's reading thread, made considerate: what it announced is done before it reads on.

Every file of a commit makes events, and each one would wake this thread just to be passed over. For that it takes the
interpreter from the commit, which then sleeps until a processor wakes it again: several times a commit, and longer
than a sync takes. The kernel keeps the events meanwhile.
"""

from __future__ import annotations

import threading

from watchdog.observers.inotify_c import DEFAULT_EVENT_BUFFER_SIZE, InotifyEvent, InotifyFD

_LONGEST_PAUSE_SECONDS = 0.02
"""The kernel's queue holds 16,384 events (fs.inotify.max_queued_events): this pause does not fill it."""


class Reader(InotifyFD):
    """Reads on when the loop has nothing to do, or after a short while at the latest."""

    def __init__(self) -> None:
        super().__init__()
        self._announced = False
        self._loop_is_free = threading.Event()

    def announced(self) -> None:
        """Something to do is about to be put into the loop's queue."""
        self._announced = True
        self._loop_is_free.clear()

    def read_on(self) -> None:
        """The loop has done what there was to do."""
        self._loop_is_free.set()

    def read_events(self, *, event_buffer_size: int = DEFAULT_EVENT_BUFFER_SIZE) -> list[InotifyEvent]:
        """watchdog: wait for events and give them."""
        if self._announced:
            self._announced = False
            self._loop_is_free.wait(_LONGEST_PAUSE_SECONDS)
        return super().read_events(event_buffer_size=event_buffer_size)
