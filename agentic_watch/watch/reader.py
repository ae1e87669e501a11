"""watchdog's reading thread, made considerate: what it announced is done before it reads on.

Every file of a commit makes events, and each one would wake this thread just to be passed over. For that it takes the
interpreter from the commit, which then sleeps until a processor wakes it again: several times a commit, and longer
than a sync takes. The kernel keeps the events meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from watchdog.observers.inotify_c import DEFAULT_EVENT_BUFFER_SIZE, InotifyConstants, InotifyEvent, InotifyFD

_LONGEST_PAUSE_SECONDS = 0.05
"""The kernel's queue holds 16,384 events (fs.inotify.max_queued_events): this pause does not fill it."""

_OF_A_FILE = frozenset({InotifyConstants.IN_CREATE, InotifyConstants.IN_CLOSE_WRITE, InotifyConstants.IN_MOVED_TO})
"""Masks without IN_ISDIR of what can happen to a file in a watched directory."""


class Reader(InotifyFD):
    """Reads on when the loop has nothing to do, or after a short while at the latest.

    Of plain files only the `names` are passed on: most events of a commit are about others.
    """

    def __init__(self, names: Iterable[bytes]) -> None:
        super().__init__()
        self._names = frozenset(names)
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
        return [
            InotifyEvent(wd, mask, cookie, name)
            for wd, mask, cookie, name in self._parse_event_buffer(self._read_event_buffer(event_buffer_size))
            if (name in self._names or mask not in _OF_A_FILE) and (wd >= 0 or mask & InotifyConstants.IN_Q_OVERFLOW)
        ]
