"""Maps kernel watches to directories of a root: which watches are deferred, and which are evicted at the limit.

Each watch is added through an open descriptor, so a directory that was swapped for a symlink is never watched by
mistake.
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
"""Committed workspaces that are watched at once all the same: their watches take less than 0.1 s."""
_DEFERRED_AT_A_TIME = 64
_SLICE = 128
_PAUSE_SECONDS = 0.002
_BREATH_SECONDS = 0.0005
_LONGEST_SECONDS = 5.0


class PendingRemovals:
    """Watches to be removed. Each removal puts an event into the kernel's queue, so only a few are removed at a time.

    The kernel keeps one watch per directory until no subscriber needs it, so a directory that is watched again
    first keeps its watch. After the rename of a level, or when all watches are rebuilt, almost none is really removed.

    Used from one root's thread. `reserve`, if set, adds more watches to remove when they run short.
    """

    def __init__(self, reader: InotifyReader) -> None:
        self._reader = reader
        self._waiting: deque[WatchDescriptor] = deque()
        self.reserve: Callable[[], None] | None = None

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, watches: Iterable[WatchDescriptor]) -> None:
        """Schedule watches for removal."""
        self._waiting.extend(watches)

    def clear(self) -> None:
        """Forget what is to be removed."""
        self._waiting.clear()

    def advance(self) -> bool:
        """Remove watches while the kernel's queue is short; returns whether all are removed."""
        while self._waiting and self._reader.has_room():
            self._remove_some()
            time.sleep(_BREATH_SECONDS)  # lets other threads take the reader's lock
        return not self._waiting

    def remove_now(self) -> bool:
        """Remove all, waiting for the reader; returns whether there was any."""
        if self.reserve is not None:
            reserve, self.reserve = self.reserve, None
            reserve()
        if not self._waiting:
            return False
        wait_until(self.advance, every(_PAUSE_SECONDS, _LONGEST_SECONDS))
        self._remove_some()  # frees some watches even if the reader did not keep up
        return True

    def _remove_some(self) -> None:
        count = min(_SLICE, len(self._waiting))
        self._reader.end_unneeded([self._waiting.popleft() for _ in range(count)])


class DeferredWatches:
    """Committed workspaces, beyond the first _AT_ONCE, whose watches are placed after the daemon is ready.

    Placing two watches for each of 100,000 workspaces would be the slowest part of a start. Until then scans cover
    these workspaces: the one at each start, and another one after the last watch is placed. The most recently committed
    come first: they are the likeliest to change again. Owned by one root's thread.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[int, WatchedDirectory, str]] = []
        self._is_sorted = True
        self._spared = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def defer(self, node: WatchedDirectory, directory: int, base: str) -> bool:
        """Defer the subdirectory `base` of `node` (open as `directory`) if it may wait; returns whether it was
        deferred."""
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
        """Return some deferred workspaces, grouped by parent directory. Must not be empty."""
        if not self._is_sorted:
            self._waiting.sort(key=itemgetter(0))
            self._is_sorted = True
        some: dict[WatchedDirectory, list[str]] = {}
        for _, node, base in self._waiting[-_DEFERRED_AT_A_TIME:]:
            some.setdefault(node, []).append(base)
        del self._waiting[-_DEFERRED_AT_A_TIME:]
        return some

    def clear(self) -> None:
        """Forget all; they stay without watches."""
        self._waiting.clear()


def _committed_at(directory: int, base: str) -> int | None:
    """When the marker of the workspace `base` was written, in nanoseconds; None when the status is newer. Only a
    heuristic: a marker does not prove a commit."""
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
    # Permissions may have been granted; a removed status turns a workspace into a level.
    | InotifyConstants.IN_ATTRIB
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_MOVED_FROM
)
"""The same mask everywhere: the kernel keeps one mask per directory, and two roots may share a directory."""

_EVICT_SHARE = 50
_NONE_LEFT = (errno.ENOSPC, errno.ENOMEM)
NO_WATCH = WatchDescriptor(-1)
"""Stands for a directory that is in the tree but has no watch."""


class Watches:
    """The watches of one root, each with the directory it stands for, None until that is known. Owned by one thread.

    `short` says that watches ran out: some workspaces lost theirs or never got any.
    """

    def __init__(self, reader: InotifyReader, queue: RootQueue, removals: PendingRemovals) -> None:
        self._reader = reader
        self._removals = removals
        self.directories: dict[WatchDescriptor, WatchedDirectory | None] = {}
        self.short = False
        reader.register(self.directories, queue)

    def add(self, parent: WatchedDirectory | None, base: str, directory: int, kind: Kind) -> WatchedDirectory | None:
        """Watch the open directory; None when no watch is left, even after evicting others.

        Raises OSError when it cannot be watched for another reason.
        """
        try:
            wd = self._watch_evicting(directory)
        except OSError as error:
            if error.errno in _NONE_LEFT:
                return None
            raise
        return self._place(wd, (parent, base, kind))

    def drop(self, node: WatchedDirectory) -> None:
        """Remove a directory from the tree, with its watch and those below it."""
        self._detach(node)
        dropped = list(_with_all_below(node))
        self._removals.add(self._forget(one) for one in dropped if self.directories.get(one.wd) is one)
        for one in dropped:
            one.cut_loose()

    def lose(self, node: WatchedDirectory) -> None:
        """The kernel's watch is gone; the directory stays in the tree, and those below keep their watches."""
        if self.directories.get(node.wd) is node:
            self._forget(node)
        node.wd = NO_WATCH

    def regain(self, node: WatchedDirectory, directory: int) -> None:
        """Watch an open directory that had lost its watch, evicting others for it. Raises OSError if that fails."""
        wd = self._watch_evicting(directory)
        if self.directories[wd] is not None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), node.base)
        node.wd = wd
        self.directories[wd] = node

    def is_of(self, node: WatchedDirectory, directory: int) -> bool:
        """Whether the open directory is the one that the watch of `node` stands for."""
        try:
            wd = self._watch(directory)
        except OSError:
            return False
        if self.directories[wd] is None:
            del self.directories[wd]
            self._reader.end_unneeded([wd])
        return wd == node.wd

    def drop_below(self, node: WatchedDirectory) -> None:
        """Remove all watches below a directory."""
        for inner in [*node.children.values(), *([node.meta] if node.meta is not None else [])]:
            self.drop(inner)

    def clear(self) -> None:
        """Remove all watches."""
        self._reader.unregister(self.directories)
        self._removals.add(self.directories)
        for node in self.directories.values():
            if node is not None:
                node.cut_loose()
        self.directories.clear()

    def _forget(self, node: WatchedDirectory) -> WatchDescriptor:
        del self.directories[node.wd]
        return node.wd

    def _watch_evicting(self, directory: int) -> WatchDescriptor:
        while True:
            try:
                return self._watch(directory)
            except OSError as error:
                if error.errno not in _NONE_LEFT:
                    raise
                if not self._removals.remove_now():
                    self.short = True
                    if not self._give_up_the_coldest():
                        raise

    def _watch(self, directory: int) -> WatchDescriptor:
        # The magic link leads to exactly the open directory, even if its path was replaced.
        return self._reader.watch(b"/proc/self/fd/%d" % directory, _MASK, self.directories)

    def _place(self, wd: WatchDescriptor, spot: tuple[WatchedDirectory | None, str, Kind]) -> WatchedDirectory:
        parent, base, kind = spot
        node = self.directories[wd]
        if node is None:
            node = self.directories[wd] = WatchedDirectory(wd, parent, base, kind)
        elif (node.parent, node.base) != (parent, base):
            # The directory was already watched: the kernel keeps one watch per directory, whatever its path.
            if parent is not None and node.holds(parent):
                raise OSError(errno.ELOOP, "is, or appears to be, mounted inside itself", base)
            # The directories below have new paths now and are found again.
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
        """Evict the watches of the least recently active workspaces; False when there is none."""
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
