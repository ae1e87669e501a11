"""One daemon per history: a locked file beside it that also holds the daemon's state.

The lock is flock(2): the kernel releases it when the holder dies, so a leftover file blocks nobody and shows when a
daemon last ran. Since the file may be removed by others, the directory is claimed too (daemon_presence.py), and a
removed file is recreated.
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
    """Another daemon holds the history; the message names the file and, if known, the holder's pid."""


class Instance:
    """The lock and published state of a running daemon. Used from one thread."""

    def __init__(self, history: str) -> None:
        self._history = history
        self._path = file_of(history)
        self._descriptor: int | None = None
        self._directory: int | None = None
        self._complained = False

    @classmethod
    def acquire(cls, history: str) -> Instance:
        """Take the lock, retrying for about a second, since `look` holds it shared for an instant. Creates the
        directory.

        Raises HistoryInUse, and OSError when the file cannot be created.
        """
        made = cls(history)
        made._take()
        return made

    def publish(self, state: DaemonState) -> None:
        """Write the state. A failed write (a full disk) is logged once and stops nothing.

        When the file or its directory was removed or moved, the lock is taken again; raises HistoryInUse when another
        daemon took it first.
        """
        if self._descriptor is None:
            return
        try:
            if not self._in_place():
                log.warning("%s: was removed; recreated", file_of(self._history))
                self._take()
            daemon_state.write(self._descriptor, daemon_state.encode(state))
        except OSError as error:
            if not self._complained:
                log.warning("%s: cannot write: %s; `agentic-watch status` is stale", self._path, error.strerror)
            self._complained = True
        else:
            self._complained = False

    def release(self) -> None:
        """Release the lock; the file stays and shows when the daemon last ran. Safe to call twice."""
        _close(self._descriptor, self._directory)
        self._descriptor = self._directory = None

    def _take(self) -> None:
        """Lock the current file and directory, then release those held before."""
        if not wait_until(self._is_taken, every(0.02, _PATIENCE_SECONDS)):
            raise _held(self._path, daemon_state.pulse(self._history)[1])

    def _is_taken(self) -> bool:
        """Try once, by the path: the directory may have been moved since the last try, or moved back."""
        self._path = file_of(self._history)
        parent, name = os.path.split(self._path)
        os.makedirs(parent, exist_ok=True)
        with contextlib.ExitStack() as undo:
            try:
                directory = self._open(parent, DIRECTORY, self._directory, undo)
                descriptor = self._open(name, os.O_RDWR | os.O_CREAT | FLAGS, self._descriptor, undo, directory)
            except FileNotFoundError:
                if os.path.isdir(parent):
                    raise  # no file can be created in it
                return False  # moved at this moment
            if not self._lock_and_claim(descriptor, directory):
                return False
            if descriptor != self._descriptor:  # the state of a previous daemon must not be taken for this one's
                os.ftruncate(descriptor, 0)
            undo.pop_all()
        _close(*{self._descriptor, self._directory} - {descriptor, directory})
        self._descriptor, self._directory = descriptor, directory
        return True

    @staticmethod
    def _open(path: str, flags: int, held: int | None, undo: contextlib.ExitStack, beside: int | None = None) -> int:
        """Open a file or directory. If it is the one already held (moved away and back), return the held descriptor,
        whose lock would refuse a second one."""
        descriptor = os.open(path, flags, 0o644, dir_fd=beside)
        if held is not None and os.path.samestat(os.fstat(descriptor), os.fstat(held)):
            os.close(descriptor)
            return held
        undo.callback(os.close, descriptor)
        return descriptor

    def _lock_and_claim(self, descriptor: int, directory: int) -> bool:
        """Take both or none: a running daemon whose file was removed must get the lock of the one that a second daemon
        created."""
        if not lock(descriptor, fcntl.LOCK_EX):
            return False
        if self._claim(directory):
            return True
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return False

    def _claim(self, directory: int) -> bool:
        if directory == self._directory:
            return True
        try:
            return claim(directory, os.path.basename(self._path))
        except OSError:
            return True  # no such locks on this file system: the file's lock has to suffice

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


def _held(path: str, state: DaemonState | None) -> HistoryInUse:
    holder = f"pid {state.pid}" if state is not None else "pid not known"
    return HistoryInUse(
        f"{path}: another daemon holds this history ({holder}); stop it, or choose another history with --history"
    )
