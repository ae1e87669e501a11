"""An inotify instance for one thread that waits on a few directories: of named workspaces, or of the history.

There is no reader thread. The caller reads the events that are queued and pauses before it reads again: the kernel
merges equal consecutive events, and an overflow counts as a change of every watched directory.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
from collections.abc import Callable, Hashable, Iterable, Iterator

from watchdog.observers.inotify_c import (
    InotifyConstants,
    Mask,
    WatchDescriptor,
    inotify_add_watch,
    inotify_init,
    inotify_rm_watch,
)

from agentic_watch.watch.inotify_reader import parse_events

_MASK = Mask(
    InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_MASK_ADD
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_ATTRIB
)
_WRITTEN_TO = Mask(_MASK | InotifyConstants.IN_MODIFY)
_READ_BYTES = 64 * 1024
_READS_AT_MOST = 16

Add = Callable[[int, Iterable[str]], bool]
"""Called with an open directory and the names in it to watch for; returns whether the watch could be added."""


class DirectoryWatch:
    """Watches, grouped by a caller's key. Used from one thread; call `close` at the end.

    Raises OSError when the kernel has no inotify instance left.
    """

    def __init__(self) -> None:
        self._descriptor = inotify_init()
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "inotify")
        os.set_inheritable(self._descriptor, False)
        os.set_blocking(self._descriptor, False)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        self._keys: dict[WatchDescriptor, dict[bytes, set[Hashable]]] = {}
        self._watches: dict[Hashable, set[WatchDescriptor]] = {}
        self._attended: dict[int, Hashable] = {}

    def attend(self, descriptor: int, key: Hashable) -> None:
        """Report `key` as changed when the reading end of this pipe or socket is closed."""
        self._poll.register(descriptor, 0)  # POLLERR and POLLHUP are always reported
        self._attended[descriptor] = key

    def close(self) -> None:
        """Close the inotify instance, which ends all watches."""
        os.close(self._descriptor)

    @contextlib.contextmanager
    def renewing(self, key: Hashable, *, writes: bool = False) -> Iterator[Add]:
        """Replace the watches of `key` with those that the body adds; the others end when it exits.

        With `writes`, each write to a file is reported, not only its close.
        """
        before = self._watches.pop(key, set())
        now = self._watches[key] = set()

        def add(directory: int, names: Iterable[str]) -> bool:
            path = b"/proc/self/fd/%d" % directory  # exactly the open directory, even if its path was replaced
            wd = inotify_add_watch(self._descriptor, path, _WRITTEN_TO if writes else _MASK)
            if wd < 0:
                return False
            now.add(wd)
            known = self._keys.setdefault(wd, {})
            for name in names:
                known.setdefault(os.fsencode(name), set()).add(key)
            return True

        try:
            yield add
        finally:
            self._end(key, before - now)

    def discard(self, key: Hashable) -> None:
        """Remove the watches of `key`."""
        self._end(key, self._watches.pop(key, set()))

    def take(self, seconds: float | None) -> set[Hashable]:
        """Wait for events, at most `seconds` (None: without limit), and return the keys that they concern."""
        ready = self._poll.poll(None if seconds is None else max(0.0, seconds) * 1000)
        found = {self._attended[descriptor] for descriptor, _ in ready if descriptor in self._attended}
        for _ in range(_READS_AT_MOST):
            try:
                buffer = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                break
            for wd, mask, name in parse_events(buffer):
                found |= self._keys_of(wd, mask, name)
        return found

    def _keys_of(self, wd: WatchDescriptor, mask: int, name: bytes) -> set[Hashable]:
        if mask & InotifyConstants.IN_Q_OVERFLOW:
            return set(self._watches)
        known = self._keys.get(wd, {})
        if mask & InotifyConstants.IN_IGNORED:
            self._keys.pop(wd, None)
            for one in (everyone := set().union(*known.values())):
                self._watches.get(one, set()).discard(wd)
            return everyone
        return known.get(name, set()) if name else set().union(*known.values())

    def _end(self, key: Hashable, wds: Iterable[WatchDescriptor]) -> None:
        for wd in wds:
            known = self._keys.get(wd, {})
            for name in [name for name, keys in known.items() if key in keys]:
                known[name].discard(key)
                if not known[name]:
                    del known[name]
            if not known and self._keys.pop(wd, None) is not None:
                inotify_rm_watch(self._descriptor, wd)


def directory_watch() -> DirectoryWatch | None:
    """A new DirectoryWatch; None when no inotify instance is left (fs.inotify.max_user_instances), and the caller
    polls."""
    try:
        return DirectoryWatch()
    except OSError:
        return None
