"""What the kernel said and nobody has looked at yet: one entry a watch, however many events there were.

So an agent that changes a directory all day cannot make it grow.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, WatchDescriptor

from agentic_watch.workspace import layout

_STATUS = layout.STATUS.encode()
_TELLING = frozenset({_STATUS, layout.REPORT.encode()})
_MARKER = layout.MARKER.encode()
NAMES = _TELLING | {_MARKER}
"""Of the plain files in watched directories, those that are news."""
_WRITTEN = (
    InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_ATTRIB  # it may have become readable
)
_TAKEN_AWAY = InotifyConstants.IN_DELETE | InotifyConstants.IN_MOVED_FROM
_APPEARED = InotifyConstants.IN_CREATE | InotifyConstants.IN_MOVED_TO
_NAMES_AT_MOST = 64
_WANTED_AT_MOST = 1024


@dataclass(slots=True)
class News:
    """What happened to one watched directory: its status or report was written, its status was taken away, directories
    appeared in it (`names`; None when too many to name) or had their permissions changed (`opened`, "" for itself), it
    was renamed, it is gone, it was silenced."""

    changed: bool = False
    bared: bool = False
    moved: bool = False
    gone: bool = False
    noisy: bool = False
    names: set[str] | None = field(default_factory=set)
    opened: set[str] = field(default_factory=set)

    def add_name(self, name: str) -> None:
        """A directory appeared."""
        if self.names is not None:
            self.names.add(name)
            if len(self.names) > _NAMES_AT_MOST:
                self.names = None

    def add_opened(self, name: str) -> None:
        """A directory's permissions changed. What is too much to name is found by trying again."""
        if len(self.opened) < _NAMES_AT_MOST:
            self.opened.add(name)


Told = Callable[[WatchDescriptor, bool], bool]
"""Told at once, in watchdog's thread, of a status or report (False) or a marker (True) in a directory; gives whether
that is all there is to do."""


@dataclass(slots=True)
class Taken:
    """What was in the inbox: `overflowed` when the kernel lost events, `wanted` are names of workspaces."""

    overflowed: bool
    news: dict[WatchDescriptor, News]
    wanted: set[str]


class Inbox:
    """Fed by watchdog's reading thread, emptied by one root's."""

    def __init__(self) -> None:
        self.told: Told = lambda _wd, _marked: False
        self._lock = threading.Lock()
        self._filled = threading.Event()
        self._news: dict[WatchDescriptor, News] = {}
        self._wanted: set[str] = set()
        self._overflowed = False

    def on_event(self, event: InotifyEvent) -> None:
        """watchdog: one event of one watch. Only filters and files; anything slow would lose events."""
        mask = event.mask
        if mask & InotifyConstants.IN_ISDIR and mask & (_APPEARED | InotifyConstants.IN_ATTRIB):
            name = event.name.decode("utf-8", "surrogateescape")
            with self._lock:
                news = self._of(event.wd)
                if mask & _APPEARED:
                    news.add_name(name)
                else:
                    news.add_opened(name)
        elif event.name in _TELLING and mask & _WRITTEN:
            if self.told(event.wd, False):
                return
            with self._lock:
                self._of(event.wd).changed = True
        elif event.name == _STATUS and mask & _TAKEN_AWAY:
            with self._lock:
                self._of(event.wd).bared = True
        elif event.name == _MARKER and mask & InotifyConstants.IN_MOVED_TO:
            self.told(event.wd, True)
            return
        elif mask & InotifyConstants.IN_MOVE_SELF:
            with self._lock:
                self._of(event.wd).moved = True
        else:
            return
        self._filled.set()

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """watchdog: the directory was deleted or unmounted, and its watch with it."""
        with self._lock:
            self._of(wd).gone = True
        self._filled.set()

    def on_noise(self, wd: WatchDescriptor) -> None:
        """The watch was taken away, since there was too much to hear."""
        with self._lock:
            self._of(wd).noisy = True
        self._filled.set()

    def on_queue_overflow(self) -> None:
        """watchdog: the kernel dropped events; nobody knows which."""
        with self._lock:
            self._overflowed = True
        self._filled.set()

    def want(self, name: str) -> None:
        """Somebody else found the workspace `name` changed: it should have a watch."""
        with self._lock:
            if len(self._wanted) < _WANTED_AT_MOST:
                self._wanted.add(name)
        self._filled.set()

    def wake(self) -> None:
        """End a `take` that waits."""
        self._filled.set()

    def take(self, seconds: float) -> Taken:
        """Wait for news, at most `seconds`, and take all there is."""
        self._filled.wait(seconds)
        self._filled.clear()
        with self._lock:
            taken = Taken(self._overflowed, self._news, self._wanted)
            self._overflowed, self._news, self._wanted = False, {}, set()
        return taken

    def _of(self, wd: WatchDescriptor) -> News:
        news = self._news.get(wd)
        if news is None:
            news = self._news[wd] = News()
        return news
