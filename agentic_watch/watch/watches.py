"""Which kernel watch stands for which directory of a root, and which watches are given up when they run short.

Every watch is added through an open descriptor, so a directory that was swapped for a symlink is never
watched by mistake.
"""

from __future__ import annotations

import errno
import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType

from watchdog.observers.inotify_c import InotifyConstants, Mask, WatchDescriptor

from agentic_watch.watch.inbox import Inbox
from agentic_watch.watch.kernel_reader import KernelReader
from agentic_watch.watch.leaving import Leaving

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
_CHILDLESS: Mapping[str, Node] = MappingProxyType({})
"""One for all: an empty dictionary for each of 200,000 watches would be 12 MiB."""

_NO_WATCH = WatchDescriptor(-1)


class Kind(IntEnum):
    """What a watched directory is."""

    ROOT = 0
    LEVEL = 1
    WORKSPACE = 2
    META = 3


@dataclass(slots=True, eq=False)
class Node:
    """One watch. `heat` is when its workspace was last of interest (seconds), the least gives its watch up first."""

    wd: WatchDescriptor
    parent: Node | None
    base: str
    kind: Kind
    heat: float = 0.0
    meta: Node | None = None
    children: Mapping[str, Node] = field(default_factory=lambda: _CHILDLESS)

    @property
    def name(self) -> str:
        """The path below the root, "" for the root."""
        parts = []
        node: Node = self
        while node.parent is not None:
            parts.append(node.base)
            node = node.parent
        return "/".join(reversed(parts))

    def holds(self, other: Node) -> bool:
        """Whether `other` is this directory or lies below it."""
        above: Node | None = other
        while above is not None and above is not self:
            above = above.parent
        return above is self

    def path_of(self, base: str) -> str:
        """The path below the root of a directory in this one."""
        return f"{self.name}/{base}" if self.parent is not None else base


class Watches:
    """The watches of one root. Owned by one thread; `short` tells that there were too few since it was made."""

    def __init__(self, reader: KernelReader, inbox: Inbox, leaving: Leaving) -> None:
        self._reader = reader
        self._inbox = inbox
        self._leaving = leaving
        self._by_wd: dict[WatchDescriptor, Node] = {}
        self.short = False

    def __len__(self) -> int:
        return len(self._by_wd)

    def get(self, wd: WatchDescriptor) -> Node | None:
        """The directory of a watch; None when it is watched no longer."""
        return self._by_wd.get(wd)

    def add(self, parent: Node | None, base: str, directory: int, kind: Kind) -> Node | None:
        """Watch the open directory; None when no watch is to be had, even after others were given up.

        Raises OSError when it cannot be watched for another reason.
        """
        while True:
            try:
                return self._place(self._watch(directory), (parent, base, kind))
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.ENOMEM):
                    raise
            if self._leaving.make_room():
                continue
            self.short = True
            if not self._give_up_the_coldest():
                return None

    def drop(self, node: Node) -> None:
        """Give up a watch and those below it."""
        self._detach(node)
        self._leaving.add(self._forget(one) for one in _with_all_below(node) if self._by_wd.get(one.wd) is one)

    def mute(self, node: Node) -> None:
        """The kernel's watch is gone, and the directory stays in its place without one."""
        if self._by_wd.get(node.wd) is node:
            self._forget(node)
        node.wd = _NO_WATCH

    def hear_again(self, node: Node, directory: int) -> None:
        """Watch a muted directory, which is open, again. Raises OSError when that cannot be."""
        wd = self._watch(directory)
        other = self._by_wd.get(wd)
        if other is not None and other is not node:
            self._reader.unhear([wd], self._inbox)
            raise OSError(errno.ESTALE, "is another directory by now", node.base)
        node.wd = wd
        self._by_wd[wd] = node

    def is_of(self, node: Node, directory: int) -> bool:
        """Whether the open directory is the one that the watch stands for."""
        try:
            wd = self._watch(directory)
        except OSError:
            return False
        self._reader.unhear([wd], self._inbox)
        return wd == node.wd

    def drop_below(self, node: Node) -> None:
        """Give up all watches below one."""
        for inner in [*node.children.values(), *([node.meta] if node.meta is not None else [])]:
            self.drop(inner)

    def clear(self) -> None:
        """Give up all."""
        self._leaving.add(self._by_wd)
        self._by_wd.clear()

    def _forget(self, node: Node) -> WatchDescriptor:
        del self._by_wd[node.wd]
        return node.wd

    def _watch(self, directory: int) -> WatchDescriptor:
        # The magic link leads to the very directory that is open, whatever its name leads to by now.
        return self._reader.hear(b"/proc/self/fd/%d" % directory, _MASK, self._inbox)

    def _place(self, wd: WatchDescriptor, spot: tuple[Node | None, str, Kind]) -> Node:
        parent, base, kind = spot
        node = self._by_wd.get(wd)
        if node is None:
            node = self._by_wd[wd] = Node(wd, parent, base, kind)
        else:
            # The same directory: the kernel keeps one watch for it, whatever its name.
            self._reader.unhear([wd], self._inbox)
            if (node.parent, node.base) != (parent, base):
                if parent is not None and node.holds(parent):
                    raise OSError(errno.ELOOP, "is mounted, or for a moment believed to be, inside itself", base)
                # What is below has another name now, so it is to be found anew.
                self.drop_below(node)
                self._detach(node)
                node.parent, node.base, node.kind = parent, base, kind
        if parent is not None:
            self._attach(parent, node)
        return node

    def _attach(self, parent: Node, node: Node) -> None:
        if node.kind is Kind.META:
            parent.meta = node
        else:
            children = parent.children if isinstance(parent.children, dict) else {}
            children[node.base] = node
            parent.children = children

    def _detach(self, node: Node) -> None:
        parent = node.parent
        if parent is not None and isinstance(parent.children, dict) and parent.children.get(node.base) is node:
            del parent.children[node.base]
        if parent is not None and parent.meta is node:
            parent.meta = None

    def _give_up_the_coldest(self) -> bool:
        """Give up the watches of the coldest workspaces; False when there is none to give up."""
        workspaces = [node for node in self._by_wd.values() if node.kind is Kind.WORKSPACE]
        coldest = heapq.nsmallest(1 + len(workspaces) // _EVICT_SHARE, workspaces, key=lambda node: node.heat)
        for node in coldest:
            self.drop(node)
        return bool(coldest)


def _with_all_below(node: Node) -> Iterator[Node]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        waiting += one.children.values()
        if one.meta is not None:
            waiting.append(one.meta)
        yield one
