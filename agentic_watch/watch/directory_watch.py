"""A few directories that one thread waits for by itself: those of named workspaces, and of the history.

No thread reads meanwhile. Who waits takes what there is, and rests before it takes more: the kernel merges equal events
that follow each other and drops what is too much, which counts as news of everything.
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
"""Takes an open directory and the names in it that matter; gives whether it has a watch."""


class DirectoryWatch:
    """Watches by the key of who waits. Used from one thread; `close` it.

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
        """Have it as news of `key` when nobody reads any more what is written to a pipe or socket."""
        self._poll.register(descriptor, 0)  # POLLERR and POLLHUP are told always
        self._attended[descriptor] = key

    def close(self) -> None:
        """Give up all watches."""
        os.close(self._descriptor)

    @contextlib.contextmanager
    def renewing(self, key: Hashable, *, writes: bool = False) -> Iterator[Add]:
        """While the body runs the watches of `key` are named anew; those that are not named again end.

        With `writes` each write to a file is news, not only its end.
        """
        before = self._watches.pop(key, set())
        now = self._watches[key] = set()

        def add(directory: int, names: Iterable[str]) -> bool:
            path = b"/proc/self/fd/%d" % directory  # the very directory that is open, whatever its name leads to now
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
        """End the watches of `key`."""
        self._end(key, self._watches.pop(key, set()))

    def take(self, seconds: float | None) -> set[Hashable]:
        """Wait for news, at most `seconds` (None: for ever), and give the keys that it is for."""
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
    """None when the kernel has no instance left (fs.inotify.max_user_instances): then all is polled."""
    try:
        return DirectoryWatch()
    except OSError:
        return None
