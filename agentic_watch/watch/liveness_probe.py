"""Checks that inotify still delivers events: it touches a file of its own and expects the event.

Live threads are weak evidence: one may hang, and the kernel may have stopped sending events. The event of this file
takes the same path, from the kernel through the reading thread, as the events of workspaces.
"""

from __future__ import annotations

import os

from watchdog.observers.inotify_c import InotifyConstants, Mask, WatchDescriptor

from agentic_watch.watch.inotify_reader import THROTTLED, InotifyReader

_MASK = Mask(InotifyConstants.IN_ONLYDIR | InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_CLOSE_WRITE)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LivenessProbe:
    """Uses the file `path`, in a directory that is watched for it. The file is empty, so a full disk does not
    matter."""

    def __init__(self, reader: InotifyReader, path: str) -> None:
        self._reader = reader
        self._path = path
        self._name = os.fsencode(os.path.basename(path))
        self._watched: tuple[int, int] | None = None
        self._watches: dict[WatchDescriptor, None] = {}
        reader.register(self._watches, self)
        self._answered = True
        self._proven = False
        self._ask()

    def answered(self) -> bool:
        """Whether the event of the last probe arrived, or the probe could not be made; then the next probe is made now.

        Where no event ever arrived (a file system without events), silence proves nothing and counts as an answer; the
        same holds when the watched directory was replaced by another.
        """
        if self._proven and not self._answered and self._identity() == self._watched:
            return False
        self._ask()
        return True

    def route(self, wd: WatchDescriptor, mask: int, name: bytes) -> None:
        """Handle an event of the directory. After an overflow the probe's event may be lost, and the overflow itself
        shows that inotify answers. If the watch ended, the next probe watches the directory that has the path then."""
        if name == self._name:
            self._answered = self._proven = True
        elif mask & InotifyConstants.IN_Q_OVERFLOW:
            self._answered = True
        elif mask & (InotifyConstants.IN_IGNORED | THROTTLED) and wd in self._watches:
            self._watched = None
            self._answered = True

    def _ask(self) -> None:
        self._answered = False
        try:
            if self._watched is None or self._watched != self._identity():
                self._watch_directory()
            # Open for writing and close: this makes an event without writing a byte.
            os.close(os.open(self._path, _FLAGS, 0o600))
        except OSError:
            # A full or read-only disk, or no watch left, says nothing about the watcher; only its threads are checked
            # then.
            self._answered = True

    def _identity(self) -> tuple[int, int] | None:
        try:
            info = os.stat(os.path.dirname(self._path))
        except OSError:
            return None
        return info.st_dev, info.st_ino

    def _watch_directory(self) -> None:
        before = list(self._watches)
        self._watches.clear()
        self._reader.end_unneeded(before)
        identity = self._identity()
        self._reader.watch(os.fsencode(os.path.dirname(self._path)), _MASK, self._watches)
        self._watched = identity
