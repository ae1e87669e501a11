"""One daemon per history: a locked file beside it that says how the daemon is.

The lock is flock(2): the kernel drops it when its holder dies, however it dies, so a file that is left
behind holds up nobody and tells when a daemon was last seen. Since anybody may remove a file, the directory is
claimed too (daemon_presence.py), and a file that was removed is made again.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os

from agentic_watch.daemon import daemon_state
from agentic_watch.daemon.daemon_presence import DIRECTORY, FLAGS, claim, file_of, lock
from agentic_watch.daemon.daemon_state import DaemonState
from agentic_watch.host.retry import every, wait_until

log = logging.getLogger(__name__)

_PATIENCE_SECONDS = 1.0


class HistoryInUse(Exception):
    """Another daemon holds the history; the message names the file and, where known, the holder's pid."""


class Instance:
    """The lock of a running daemon, and its state for others to read. Used from one thread."""

    def __init__(self, history: str) -> None:
        self._history = history
        self._path = file_of(history)
        self._descriptor: int | None = None
        self._directory: int | None = None
        self._complained = False

    @classmethod
    def acquire(cls, history: str) -> Instance:
        """Take the lock, for about a second: `look` holds it shared for an instant. Makes the directory.

        Raises HistoryInUse, and OSError when the file cannot be made.
        """
        made = cls(history)
        made._take()
        return made

    def publish(self, state: DaemonState) -> None:
        """Replace the state. A state that cannot be written (a full disk) is said once and ends nothing.

        When file or directory are no longer where they were, they are taken anew: raises HistoryInUse when another
        daemon was first.
        """
        if self._descriptor is None:
            return
        try:
            if not self._in_place():
                log.warning("%s: was removed; recreated", self._path)
                self._take()
            daemon_state.write(self._descriptor, daemon_state.encode(state))
        except OSError as error:
            if not self._complained:
                log.warning("%s: cannot write: %s; `agentic-watch status` is stale", self._path, error.strerror)
            self._complained = True
        else:
            self._complained = False

    def release(self) -> None:
        """Give the lock back; the file stays and tells when the daemon was last seen. Safe to call twice."""
        _close(self._descriptor, self._directory)
        self._descriptor = self._directory = None

    def _take(self) -> None:
        """Lock file and directory as they are now; what was held before is let go when that worked."""
        self._path = file_of(self._history)
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        with contextlib.ExitStack() as undo:
            directory = self._open(os.path.dirname(self._path), DIRECTORY, self._directory, undo)
            descriptor = self._open(self._path, os.O_RDWR | os.O_CREAT | FLAGS, self._descriptor, undo)
            pauses = every(0.02, _PATIENCE_SECONDS)
            if not wait_until(lambda: lock(descriptor, fcntl.LOCK_EX) and self._claim(directory), pauses):
                raise _held(self._path, descriptor)
            # What a former daemon said must not be taken for this one's words.
            os.ftruncate(descriptor, 0)
            undo.pop_all()
        _close(*{self._descriptor, self._directory} - {descriptor, directory})
        self._descriptor, self._directory = descriptor, directory

    @staticmethod
    def _open(path: str, flags: int, held: int | None, undo: contextlib.ExitStack) -> int:
        """Open the file or directory. When it is the one that is held already (it was moved away and is back), give the
        descriptor that holds it: the lock of that one would refuse a second."""
        descriptor = os.open(path, flags, 0o644)
        if held is not None and os.path.samestat(os.fstat(descriptor), os.fstat(held)):
            os.close(descriptor)
            return held
        undo.callback(os.close, descriptor)
        return descriptor

    def _claim(self, directory: int) -> bool:
        if directory == self._directory:
            return True
        try:
            return claim(directory, os.path.basename(self._path))
        except OSError:
            return True  # a file system without such locks: the file's own must do

    def _in_place(self) -> bool:
        assert self._descriptor is not None
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False


def _close(*descriptors: int | None) -> None:
    for descriptor in descriptors:
        if descriptor is not None:
            os.close(descriptor)


def _held(path: str, descriptor: int) -> HistoryInUse:
    state = daemon_state.read(descriptor)
    holder = f"pid {state.pid}" if state is not None else "pid not known"
    return HistoryInUse(
        f"{path}: another daemon holds this history ({holder}); stop it, or use another one with --history"
    )
