"""watchdog's reading thread, made considerate: while the loop is at work it reads now and then; nobody is shouted down.

Every file of a commit makes events, and each one would wake this thread just to be passed over. For that it takes the
interpreter from the commit, which then sleeps until a processor wakes it again: several times a commit, and longer
than a sync takes. The kernel keeps the events meanwhile.

The queue is one for all: a directory that fills it by itself loses the news of all others, so it is silenced
(noise.py).
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
from collections.abc import Iterable
from typing import Protocol

from watchdog.observers.inotify_c import (
    DEFAULT_EVENT_BUFFER_SIZE,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
    inotify_add_watch,
    inotify_rm_watch,
)

from agentic_watch.watch.noise import Noise

log = logging.getLogger("agentic_watch.watch")

_LONGEST_PAUSE_SECONDS = 0.02
"""The kernel's queue holds 16,384 events (fs.inotify.max_queued_events): this pause does not fill it."""
_SHORT_QUEUE_BYTES = 16 * 2048
"""As much as 2,048 events without a name: there is room for the one that the end of each watch puts there."""
_SAY_AGAIN_SECONDS = 600.0

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
"""Masks without IN_ISDIR of what can happen to a file in a watched directory."""


class Listener(Protocol):
    """Who hears of what concerns the queue as a whole."""

    def on_queue_overflow(self) -> None:
        """The kernel dropped events; nobody knows which."""
        ...

    def on_noise(self, wd: WatchDescriptor) -> None:
        """A watch was taken away, since its directory had more events than is sensible."""
        ...


class KernelReader(InotifyFD):
    """Reads on when the loop has nothing to do, or after a short while at the latest, or when much is waiting.

    Of plain files only the `names` are passed on: most events of a commit are about others. `overflows` counts how
    often the kernel dropped events.

    watchdog keeps half a KiB for each watch. There may be two for each of 100,000 workspaces, and next to none of them
    has more than one hearer, so these are kept here (`hear`); who takes watchdog's own callbacks is served as well.
    """

    def __init__(self, names: Iterable[bytes]) -> None:
        super().__init__()
        self.overflows = 0
        self._hearers: dict[WatchDescriptor, WatchCallback] = {}
        self._further: dict[WatchDescriptor, list[WatchCallback]] = {}
        self._names = frozenset(names)
        self._loop_is_free = threading.Event()
        self._loop_is_free.set()
        self._listeners: list[Listener] = []
        self._noise = Noise(self._names)
        self._said_at = 0.0

    def listen(self, listener: Listener) -> None:
        """Tell `listener`, too, from now on."""
        self._listeners.append(listener)

    def hear(self, path: bytes, mask: Mask, hearer: WatchCallback) -> WatchDescriptor:
        """Watch a directory, once more when it is watched already. Raises OSError."""
        with self._lock:
            wd = inotify_add_watch(self._inotify_fd, path, mask)
            if wd < 0:
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            if wd in self._hearers:
                self._further.setdefault(wd, []).append(hearer)
            else:
                self._hearers[wd] = hearer
        return wd

    def unhear(self, wds: Iterable[WatchDescriptor], hearer: WatchCallback) -> None:
        """Take back as many of `hear`; with the last one a watch ends. One that has ended by itself does not matter."""
        with self._lock:
            for wd in wds:
                further = self._further.get(wd, [])
                if hearer in further:
                    further.remove(hearer)
                elif self._hearers.get(wd) is not hearer:
                    continue
                elif further:
                    self._hearers[wd] = further.pop()
                else:
                    del self._hearers[wd]
                    inotify_rm_watch(self._inotify_fd, wd)
                if not further:
                    self._further.pop(wd, None)

    def announced(self) -> None:
        """Something to do is about to be put into the loop's queue."""
        self._loop_is_free.clear()

    def read_on(self) -> None:
        """The loop has done what there was to do."""
        self._loop_is_free.set()

    def has_room(self) -> bool:
        """Whether the kernel's queue is short (FIONREAD, inotify(7))."""
        try:
            (waiting,) = struct.unpack("i", fcntl.ioctl(self._inotify_fd, termios.FIONREAD, struct.pack("i", 0)))
        except OSError:
            return True  # closed
        return bool(waiting < _SHORT_QUEUE_BYTES)

    def read_events(self, *, event_buffer_size: int = DEFAULT_EVENT_BUFFER_SIZE) -> list[InotifyEvent]:
        """watchdog: wait for events and give them."""
        if self.has_room():
            self._loop_is_free.wait(_LONGEST_PAUSE_SECONDS)
        events = list(self._parse_event_buffer(self._read_event_buffer(event_buffer_size)))
        for wd in self._noise.count(events, time.monotonic()):
            self._silence(wd)
        return [
            InotifyEvent(wd, mask, cookie, name)
            for wd, mask, cookie, name in events
            if (name in self._names or mask not in _OF_A_FILE) and (wd >= 0 or mask & InotifyConstants.IN_Q_OVERFLOW)
        ]

    def handle_event(self, event: InotifyEvent) -> None:
        """watchdog: one event. An overflow is told once to each listener, however many watches it has."""
        if not event.is_queue_overflow:
            self._pass_on(event)
            super().handle_event(event)
            return
        self.overflows += 1
        now = time.monotonic()
        if not self._said_at or now - self._said_at >= _SAY_AGAIN_SECONDS:
            self._said_at = now
            times = f", {self.overflows} times since the start" if self.overflows > 1 else ""
            log.warning("the kernel dropped events (queue overflow%s); every root is scanned as a whole", times)
        for listener in tuple(self._listeners):
            listener.on_queue_overflow()

    def _pass_on(self, event: InotifyEvent) -> None:
        for hearer in self._hearers_of(event.wd, forget=event.is_ignored):
            if event.is_ignored:
                hearer.on_watch_deleted(event.wd)
            else:
                hearer.on_event(event)

    def _hearers_of(self, wd: WatchDescriptor, *, forget: bool = False) -> list[WatchCallback]:
        with self._lock:
            hearers = [self._hearers[wd], *self._further.get(wd, [])] if wd in self._hearers else []
            if forget:
                self._hearers.pop(wd, None)
                self._further.pop(wd, None)
        return list(dict.fromkeys(hearers))

    def close(self) -> None:
        """watchdog: the end. With its descriptor the kernel gives up all watches at once; one by one takes a second."""
        with self._lock:
            self._watch_for_wd.clear()
        super().close()

    def _silence(self, wd: WatchDescriptor) -> None:
        with self._lock:
            watch = self._watch_for_wd.get(wd)
            callbacks = list(watch.callbacks) if watch is not None else []
        self.remove_callbacks([(wd, callback) for callback in callbacks])
        if self._hearers_of(wd, forget=True):
            inotify_rm_watch(self._inotify_fd, wd)
        for listener in tuple(self._listeners):
            listener.on_noise(wd)
