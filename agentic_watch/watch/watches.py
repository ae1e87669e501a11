"""Which kernel watch stands for which directory of a root, which are placed later, and which are given up when they run
short.

Every watch is added through an open descriptor, so a directory that was swapped for a symlink is never
watched by mistake.
"""

from __future__ import annotations

import errno
import heapq
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter

from watchdog.observers.inotify_c import InotifyConstants, Mask, WatchDescriptor

from agentic_watch.host.retry import every, wait_until
from agentic_watch.watch.change_queues import Kind, RootQueue, WatchedDirectory
from agentic_watch.watch.inotify_reader import InotifyReader
from agentic_watch.workspace import layout

_AT_ONCE = 1_000
"""So many need not wait: their watches take less than a tenth of a second."""
_DEFERRED_AT_A_TIME = 64
_SLICE = 128
_PAUSE_SECONDS = 0.002
_BREATH_SECONDS = 0.0005
_LONGEST_SECONDS = 5.0


class PendingRemovals:
    """Watches on their way out. Each one that ends puts an event into the kernel's queue, so they go a few at a time.

    What is watched anew first loses no watch at all: the kernel keeps one a directory, and it lasts as long as anybody
    needs it. So after the rename of a level, or when all is watched anew, next to nothing really ends.
    Used from one root's thread. `reserve`, when it is set, brings more that can go when watches run short.
    """

    def __init__(self, reader: InotifyReader) -> None:
        self._reader = reader
        self._waiting: deque[WatchDescriptor] = deque()
        self.reserve: Callable[[], None] | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, watches: Iterable[WatchDescriptor]) -> None:
        """These may go."""
        self._waiting.extend(watches)

    def advance(self) -> bool:
        """Let some go, as long as the kernel's queue is short; whether all have gone."""
        while self._waiting and self._reader.has_room():
            self._remove_some()
            time.sleep(_BREATH_SECONDS)  # whoever waits for the reader's lock gets it
        return not self._waiting

    def remove_now(self) -> bool:
        """Let all go, waiting for the reader; whether there was anything."""
        if self.reserve is not None:
            reserve, self.reserve = self.reserve, None
            reserve()
        if not self._waiting:
            return False
        wait_until(self.advance, every(_PAUSE_SECONDS, _LONGEST_SECONDS))
        self._remove_some()  # so that there is room now, whatever the reader does
        return True

    def _remove_some(self) -> None:
        count = min(_SLICE, len(self._waiting))
        self._reader.end_unneeded([self._waiting.popleft() for _ in range(count)])


class DeferredWatches:
    """Which workspaces get their watches only after the daemon is ready: of very many, those committed long since.

    To place two watches for each of 100,000 takes longer than all else that a start does. Until they are placed a scan
    stands for them: the one that each start makes, and another one afterwards, so that nothing falls between. What
    changed last is the first to be taken: it is likelier to change again. Owned by one root's thread.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, WatchedDirectory, str]] = []
        self._is_sorted = True
        self._spared = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def defer(self, node: WatchedDirectory, directory: int, base: str) -> bool:
        """Whether the directory `base` of `node`, which is open, may wait; then it is remembered."""
        committed_at = _committed_at(directory, base)
        if committed_at is None:
            return False
        if self._spared < _AT_ONCE:
            self._spared += 1
            return False
        self._waiting.append((committed_at, node, base))
        self._is_sorted = False
        return True

    def take(self) -> dict[WatchedDirectory, list[str]]:
        """Some of them, by the directory in which they lie; there must be some."""
        if not self._is_sorted:
            self._waiting.sort(key=itemgetter(0))
            self._is_sorted = True
        some: dict[WatchedDirectory, list[str]] = {}
        for _, node, base in self._waiting[-_DEFERRED_AT_A_TIME:]:
            some.setdefault(node, []).append(base)
        del self._waiting[-_DEFERRED_AT_A_TIME:]
        return some

    def clear(self) -> None:
        """They go without."""
        self._waiting.clear()


def _committed_at(directory: int, base: str) -> int | None:
    """When the workspace `base` got its marker, in nanoseconds; None when that is not younger than the status: a hint,
    and no proof."""
    try:
        marker = os.stat(f"{base}/{layout.META_MARKER}", dir_fd=directory, follow_symlinks=False)
        try:
            status = os.stat(f"{base}/{layout.META_STATUS}", dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            status = os.stat(f"{base}/{layout.STATUS}", dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None
    return marker.st_ctime_ns if status.st_ctime_ns <= marker.st_ctime_ns else None


_MASK = Mask(
    InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_CLOSE_WRITE
    # What could not be read may be readable now; a status that is taken away makes a workspace a level again.
    | InotifyConstants.IN_ATTRIB
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_MOVED_FROM
)
"""One for all: the kernel keeps one mask a directory, and two roots may lead to one directory."""

_EVICT_SHARE = 50
NO_WATCH = WatchDescriptor(-1)
"""Of a directory that has its place and no watch."""


class Watches:
    """The watches of one root: by each the directory for which it stands now, None while that is being found out. Owned
    by one thread.

    `short` tells that there were too few since it was made: workspaces have given up, or never got, theirs.
    """

    def __init__(self, reader: InotifyReader, queue: RootQueue, removals: PendingRemovals) -> None:
        self._reader = reader
        self._removals = removals
        self.directories: dict[WatchDescriptor, WatchedDirectory | None] = {}
        self.short = False
        reader.register(self.directories, queue)

    def add(self, parent: WatchedDirectory | None, base: str, directory: int, kind: Kind) -> WatchedDirectory | None:
        """Watch the open directory; None when no watch is to be had, even after others were given up.

        Raises OSError when it cannot be watched for another reason.
        """
        while True:
            try:
                return self._place(self._watch(directory), (parent, base, kind))
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.ENOMEM):
                    raise
            if self._removals.remove_now():
                continue
            self.short = True
            if not self._give_up_the_coldest():
                return None

    def drop(self, node: WatchedDirectory) -> None:
        """Give up a watch and those below it."""
        self._detach(node)
        dropped = list(_with_all_below(node))
        self._removals.add(self._forget(one) for one in dropped if self.directories.get(one.wd) is one)
        for one in dropped:
            one.cut_loose()

    def lose(self, node: WatchedDirectory) -> None:
        """The kernel's watch is gone, and the directory keeps its place, and those below it their watches."""
        if self.directories.get(node.wd) is node:
            self._forget(node)
        node.wd = NO_WATCH

    def regain(self, node: WatchedDirectory, directory: int) -> None:
        """Watch a directory that lost its watch, and is open, again. Raises OSError when that cannot be."""
        wd = self._watch(directory)
        if self.directories[wd] is not None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), node.base)
        node.wd = wd
        self.directories[wd] = node

    def is_of(self, node: WatchedDirectory, directory: int) -> bool:
        """Whether the open directory is the one that the watch stands for."""
        try:
            wd = self._watch(directory)
        except OSError:
            return False
        if self.directories[wd] is None:
            del self.directories[wd]
            self._reader.end_unneeded([wd])
        return wd == node.wd

    def drop_below(self, node: WatchedDirectory) -> None:
        """Give up all watches below one."""
        for inner in [*node.children.values(), *([node.meta] if node.meta is not None else [])]:
            self.drop(inner)

    def clear(self) -> None:
        """Give up all."""
        self._reader.unregister(self.directories)
        self._removals.add(self.directories)
        self.directories.clear()

    def _forget(self, node: WatchedDirectory) -> WatchDescriptor:
        del self.directories[node.wd]
        return node.wd

    def _watch(self, directory: int) -> WatchDescriptor:
        # The magic link leads to the very directory that is open, whatever its name leads to by now.
        return self._reader.watch(b"/proc/self/fd/%d" % directory, _MASK, self.directories)

    def _place(self, wd: WatchDescriptor, spot: tuple[WatchedDirectory | None, str, Kind]) -> WatchedDirectory:
        parent, base, kind = spot
        node = self.directories[wd]
        if node is None:
            node = self.directories[wd] = WatchedDirectory(wd, parent, base, kind)
        elif (node.parent, node.base) != (parent, base):
            # The same directory: the kernel keeps one watch for it, whatever its name.
            if parent is not None and node.holds(parent):
                raise OSError(errno.ELOOP, "is mounted, or for a moment believed to be, inside itself", base)
            # What is below has another name now, so it is to be found anew.
            self.drop_below(node)
            self._detach(node)
            node.parent, node.base, node.kind = parent, base, kind
        if parent is not None:
            self._attach(parent, node)
        return node

    def _attach(self, parent: WatchedDirectory, node: WatchedDirectory) -> None:
        if node.kind is Kind.META:
            parent.meta = node
        else:
            children = parent.children if isinstance(parent.children, dict) else {}
            before = children.get(node.base)
            if before is not None and before.wd == NO_WATCH:  # no event tells of its end
                self.drop(before)
            children[node.base] = node
            parent.children = children

    def _detach(self, node: WatchedDirectory) -> None:
        parent = node.parent
        if parent is not None and isinstance(parent.children, dict) and parent.children.get(node.base) is node:
            del parent.children[node.base]
        if parent is not None and parent.meta is node:
            parent.meta = None

    def _give_up_the_coldest(self) -> bool:
        """Give up the watches of the coldest workspaces; False when there is none to give up."""
        workspaces = [node for node in self.directories.values() if node is not None and node.kind is Kind.WORKSPACE]
        coldest = heapq.nsmallest(1 + len(workspaces) // _EVICT_SHARE, workspaces, key=lambda node: node.heat)
        for node in coldest:
            self.drop(node)
        return bool(coldest)


def _with_all_below(node: WatchedDirectory) -> Iterator[WatchedDirectory]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        waiting += one.children.values()
        if one.meta is not None:
            waiting.append(one.meta)
        yield one
