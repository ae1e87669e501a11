"""Does inotify still answer? A file of our own is touched, and the event of it has to come back.

Threads that live prove little: one may hang, and the kernel may have stopped to tell. The event of this file takes the
whole way, from the kernel through the reading thread, that the news of a workspace takes.
"""

from __future__ import annotations

import os

from watchdog.observers.inotify_c import InotifyConstants, Mask, WatchDescriptor

from agentic_watch.watch.inotify_reader import THROTTLED, InotifyReader

_MASK = Mask(InotifyConstants.IN_ONLYDIR | InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_CLOSE_WRITE)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LivenessProbe:
    """The file `path` in a watched directory of its own; empty, so that a full disk does not matter."""

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
        """Whether the last question was answered, or could not be put; if so, the next one is put now.

        Where no answer ever came (a file system without events) silence proves nothing, and counts as an answer; so
        it does where another directory has the name of the watched one by now.
        """
        if self._proven and not self._answered and self._identity() == self._watched:
            return False
        self._ask()
        return True

    def route(self, wd: WatchDescriptor, mask: int, name: bytes) -> None:
        """Something was written in the directory; or the directory is gone or had too many events: then the next
        question is put to whatever has its name. What was lost may be the answer, and that this was said is one,
        too."""
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
            # Opened for writing and closed: an event, without a byte or a block.
            os.close(os.open(self._path, _FLAGS, 0o600))
        except OSError:
            # Full, read-only, out of watches: says nothing of the watcher, so its threads' lives must do.
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
