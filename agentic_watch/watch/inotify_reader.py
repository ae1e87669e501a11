"""watchdog's reading thread with two changes: it pauses while the loop works, and it drops watches with too many
events.

Each file of a commit makes events, most of them irrelevant, and each would wake this thread. It would take the
interpreter lock from the committing thread, which then sleeps until it is scheduled again: several times per commit,
and longer than a sync takes. Meanwhile the kernel queues the events.

All watches share one kernel queue. An agent may open and close files in its `.meta` all day; a directory that fills the
queue makes all others lose events, so its watch is removed (EventRates).
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import os
import struct
import termios
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol, TypeVar

from watchdog.observers.inotify_c import (
    InotifyConstants,
    InotifyFD,
    Mask,
    WatchDescriptor,
    inotify_add_watch,
    inotify_rm_watch,
)

_SECONDS = 1.0
_LIMITS = ((0.0, 2_000.0), (25_000.0, 500.0), (100_000.0, 256.0))
"""(events of all directories in this second, limit for one directory). The kernel merges equal consecutive events; a
finish and its commit weigh up to 220. One agent may also cause a few events in each of many directories, so the limit
falls as the total rises."""
_OF_A_STATUS = 40.0
"""Weight of an event that becomes a hint for the loop: 50 of them per second are too many."""
_OF_A_DIRECTORY = 0.25
"""Weight of a directory event: thousands of workspaces may legitimately be created in one directory."""

T = TypeVar("T")
Event = tuple[WatchDescriptor, int, bytes]
"""(watch, mask, name)."""


class EventRates:
    """Weighs the events of each watch per second. Times are passed in."""

    def __init__(self, telling: frozenset[bytes]) -> None:
        self._telling = telling
        self._weights: dict[WatchDescriptor, float] = {}
        self._all = 0.0
        self._until = 0.0

    def count(self, events: Iterable[tuple[Event, int]], now: float) -> list[WatchDescriptor]:
        """Count events, each with its number of repetitions; returns the watches that are over the limit.

        The caller removes these watches; they are not returned again because their events end.
        """
        weights = self._weights
        if now >= self._until:
            weights.clear()
            self._all, self._until = 0.0, now + _SECONDS
        met: dict[WatchDescriptor, None] = {}
        for (wd, mask, name), times in events:
            if mask & InotifyConstants.IN_ISDIR:
                weight = _OF_A_DIRECTORY * times
            else:
                weight = (_OF_A_STATUS if name in self._telling else 1.0) * times
            weights[wd] = weights.get(wd, 0.0) + weight
            self._all += weight
            met[wd] = None
        limit = 0.0
        for all_together, each in _LIMITS:
            limit = each if self._all >= all_together else limit
        if self._all < limit:
            return []
        return [wd for wd in met if wd >= 0 and weights[wd] >= limit]


log = logging.getLogger("agentic_watch.watch")

_LONGEST_PAUSE_SECONDS = 0.02
"""The kernel's queue holds 16,384 events (fs.inotify.max_queued_events): this pause does not fill it."""
_SHORT_QUEUE_BYTES = 16 * 2048
"""The size of 2,048 events without a name: the IN_IGNORED events of removed watches still fit into the queue."""
_READ_BYTES = 256 * 1024
_SAY_AGAIN_SECONDS = 600.0
_HEADER = struct.Struct("iIII")

_OF_A_FILE = frozenset(
    {
        InotifyConstants.IN_CREATE,
        InotifyConstants.IN_CLOSE_WRITE,
        InotifyConstants.IN_MOVED_TO,
        InotifyConstants.IN_MOVED_FROM,
        InotifyConstants.IN_ATTRIB,
        InotifyConstants.IN_DELETE,
    }
)
"""Masks (without IN_ISDIR) of events about a file in a watched directory."""


THROTTLED = 1 << 20
"""Our own mask, unused by the kernel (inotify(7)): the watch was removed because its directory had too many events. The
kernel's IN_IGNORED follows."""

Watched = dict[WatchDescriptor, T]
"""The watches that a subscriber needs, each with the subscriber's data."""


class Subscriber(Protocol):
    """Receives the events of its watches, on the reading thread: a slow subscriber makes the kernel drop events."""

    def route(self, wd: WatchDescriptor, mask: int, name: bytes) -> None:
        """Handle one event; equal events of one read are passed once.

        The mask is the kernel's, or THROTTLED. After IN_IGNORED or THROTTLED the watch has ended; IN_Q_OVERFLOW means
        that events of any watch may be lost.
        """
        ...


class InotifyReader(InotifyFD):
    """Reads events when the loop is idle (`is_idle`), after a short pause at most, or at once when the queue is long.

    Events of plain files are passed on only for `names`: most events of a commit concern other files. `overflows`
    counts how often the kernel dropped events.

    watchdog's own registry takes half a KiB per watch, of which there may be two for each of 100,000 workspaces, so it
    stays empty: each subscriber has a dictionary of its watches, and a watch lasts as long as one of these dictionaries
    has it.
    """

    def __init__(self, names: Iterable[bytes], is_idle: threading.Event) -> None:
        super().__init__()
        self.name = "inotify"
        self.overflows = 0
        self._subscribers: list[tuple[Watched[Any], Subscriber]] = []
        self._names = frozenset(names)
        self._rates = EventRates(self._names)
        self._is_idle = is_idle
        self._said_at = 0.0

    def register(self, watched: Watched[Any], subscriber: Subscriber) -> None:
        """Pass the events of all watches in the dictionary `watched` to a subscriber from now on."""
        with self._lock:
            self._subscribers.append((watched, subscriber))

    def unregister(self, watched: Watched[Any]) -> None:
        """Undo `register`. The watches last until they are given to `end_unneeded`."""
        with self._lock:
            self._subscribers = [(other, one) for other, one in self._subscribers if other is not watched]

    def watch(self, path: bytes, mask: Mask, watched: Watched[T | None]) -> WatchDescriptor:
        """Watch a directory and add the watch to `watched`, with the value None if it is new there. The kernel keeps
        one watch per directory, however many subscribers it has. Raises OSError."""
        with self._lock:
            wd = inotify_add_watch(self._inotify_fd, path, mask)
            if wd < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            watched.setdefault(wd, None)
        return wd

    def end_unneeded(self, wds: Iterable[WatchDescriptor]) -> None:
        """Remove those of these watches that no subscriber needs any more. Watches that have ended are ignored."""
        with self._lock:
            for wd in wds:
                if not any(wd in watched for watched, _ in self._subscribers):
                    inotify_rm_watch(self._inotify_fd, wd)

    def has_room(self) -> bool:
        """Whether the kernel's queue is short (FIONREAD, inotify(7))."""
        try:
            (waiting,) = struct.unpack("i", fcntl.ioctl(self._inotify_fd, termios.FIONREAD, struct.pack("i", 0)))
        except OSError:
            return True  # closed
        return bool(waiting < _SHORT_QUEUE_BYTES)

    def run(self) -> None:
        """Read events and pass them on until stopped."""
        while self.should_keep_running():
            if self.has_room():
                self._is_idle.wait(_LONGEST_PAUSE_SECONDS)
            events = Counter(parse_events(self._read_event_buffer(_READ_BYTES)))
            for event in events:
                _, mask, name = event
                if name in self._names or mask not in _OF_A_FILE:
                    self._pass_on(event)
            for wd in self._rates.count(events.items(), time.monotonic()):
                self._throttle(wd)

    def _pass_on(self, event: Event) -> None:
        wd, mask, name = event
        if wd < 0:
            if mask & InotifyConstants.IN_Q_OVERFLOW:
                self._pass_on_overflow()
        else:
            for subscriber in self._subscribers_of(wd):
                subscriber.route(wd, mask, name)

    def _pass_on_overflow(self) -> None:
        """Events were lost: log it at most every ten minutes, and notify each subscriber once."""
        self.overflows += 1
        now = time.monotonic()
        if not self._said_at or now - self._said_at >= _SAY_AGAIN_SECONDS:
            self._said_at = now
            times = f", {self.overflows} times since the start" if self.overflows > 1 else ""
            log.warning("the kernel dropped events (queue overflow%s); every root is scanned as a whole", times)
        with self._lock:
            everyone = dict.fromkeys(subscriber for _, subscriber in self._subscribers)
        for subscriber in everyone:
            subscriber.route(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, b"")

    def _throttle(self, wd: WatchDescriptor) -> None:
        subscribers = self._subscribers_of(wd)
        if subscribers:
            inotify_rm_watch(self._inotify_fd, wd)
        for subscriber in subscribers:
            subscriber.route(wd, THROTTLED, b"")

    def _subscribers_of(self, wd: WatchDescriptor) -> dict[Subscriber, None]:
        with self._lock:  # `watch` adds to the dictionary under this lock
            return dict.fromkeys(subscriber for watched, subscriber in self._subscribers if wd in watched)


def parse_events(buffer: bytes) -> list[Event]:
    """Parse a buffer of events (inotify(7), struct inotify_event)."""
    events: list[Event] = []
    start, unpack, header = 0, _HEADER.unpack_from, _HEADER.size
    while start + header <= len(buffer):
        wd, mask, _, length = unpack(buffer, start)
        start += header
        events.append((wd, mask, buffer[start : start + length].rstrip(b"\0") if length else b""))
        start += length
    return events
