"""Does inotify still answer? A file of our own is touched, and the event of it has to come back.

Threads that live prove little: one may hang, and the kernel may have stopped to tell. The event of this file takes the
whole way, from the kernel through watchdog's reading thread, that the news of a workspace takes.
"""

from __future__ import annotations

import errno
import os

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyEvent, InotifyFD, Mask, WatchDescriptor

_MASK = Mask(InotifyConstants.IN_ONLYDIR | InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_CLOSE_WRITE)
_CALLBACK = CallbackId(0)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class LivenessProbe:
    """The file `path` in a watched directory of its own; empty, so that a full disk does not matter."""

    def __init__(self, inotify: InotifyFD, path: str) -> None:
        self._inotify = inotify
        self._path = path
        self._name = os.fsencode(os.path.basename(path))
        self._planted: tuple[int, int] | None = None
        self._wd: WatchDescriptor | None = None
        self._answered = True
        self._proven = False
        self._ask()

    def answered(self) -> bool:
        """Whether the last question was answered, or could not be put; if so, the next one is put now.

        Where no answer ever came (a file system without events) silence proves nothing, and counts as an answer; so
        it does where another directory has the name of the watched one by now.
        """
        if self._proven and not self._answered and self._identity() == self._planted:
            return False
        self._ask()
        return True

    def on_event(self, event: InotifyEvent) -> None:
        """watchdog: something was written in the directory."""
        if event.name == self._name:
            self._answered = self._proven = True

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """watchdog: the directory is gone; the next question is put to whatever has its name then."""
        if wd == self._wd:
            self._planted = None
            self._answered = True

    def on_queue_overflow(self) -> None:
        """The answer may be among the lost events; that this was said is one, too."""
        self._answered = True

    def on_noise(self, wd: WatchDescriptor) -> None:
        """The directory was too loud to be heard, which somebody heard."""
        self.on_watch_deleted(wd)

    def _ask(self) -> None:
        self._answered = False
        try:
            if self._planted is None or self._planted != self._identity():
                self._plant()
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

    def _plant(self) -> None:
        before, self._wd = self._wd, None
        if before is not None:
            self._inotify.remove_callbacks([(before, _CALLBACK)])
        directory = os.fsencode(os.path.dirname(self._path))
        identity = self._identity()
        wd = self._inotify.add_callback(directory, _MASK, self, _CALLBACK)
        if wd < 0:  # watchdog 7.1 answers EACCES with -1 instead of an exception
            self._inotify.remove_callbacks([(wd, _CALLBACK)])
            raise PermissionError(errno.EACCES, "cannot be watched", self._path)
        self._wd, self._planted = wd, identity
