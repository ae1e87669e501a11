"""The watched directories of one root: the root, the levels between, each workspace and its `.meta`.

Never inside a clone: what an agent builds there costs the watcher nothing. Every watch is added through
an open descriptor, so a directory that was swapped for a symlink is never watched by mistake.
"""

from __future__ import annotations

import errno
import heapq
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import count

from watchdog.observers.inotify_c import CallbackId, InotifyConstants, InotifyFD, Mask, WatchDescriptor

from agentic_watch.config import Root
from agentic_watch.scan import sight
from agentic_watch.watch.inbox import Inbox, News
from agentic_watch.workspace import files, layout
from agentic_watch.workspace.errors import WorkspaceError
from agentic_watch.workspace.layout import Candidate

_SELF = InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF | InotifyConstants.IN_ONLYDIR
_APPEARED = InotifyConstants.IN_CREATE | InotifyConstants.IN_MOVED_TO
_ARRIVED = InotifyConstants.IN_CLOSE_WRITE | InotifyConstants.IN_MOVED_TO
_EVICT_SHARE = 50
_UNCOMMITTED = 1e9
"""Seconds by which an uncommitted workspace counts as warmer than any committed one."""


class Kind(IntEnum):
    """What a watched directory is."""

    ROOT = 0
    LEVEL = 1
    WORKSPACE = 2
    META = 3


_MASKS = {
    Kind.ROOT: Mask(_SELF | _APPEARED),
    Kind.LEVEL: Mask(_SELF | _APPEARED | _ARRIVED),
    Kind.META: Mask(_SELF | _ARRIVED),
}


@dataclass(slots=True, eq=False)
class Node:
    """One watch. `heat` is when its workspace was last of interest (seconds), the least gives its watch up first."""

    wd: WatchDescriptor
    callback: CallbackId
    parent: Node | None
    base: str
    kind: Kind
    heat: float = 0.0
    meta: Node | None = None
    children: dict[str, Node] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The path below the root, "" for the root."""
        parts = []
        node: Node = self
        while node.parent is not None:
            parts.append(node.base)
            node = node.parent
        return "/".join(reversed(parts))


class Tree:
    """Owned by one thread. `announce` hears of each workspace that appeared or changed."""

    def __init__(self, root: Root, inotify: InotifyFD, inbox: Inbox, announce: Callable[[Candidate], None]) -> None:
        self._root = root
        self._inotify = inotify
        self._inbox = inbox
        self._announce = announce
        self._callbacks = count(1)
        self._nodes: dict[WatchDescriptor, Node] = {}
        self._top: Node | None = None
        self.unwatched = 0

    @property
    def watches(self) -> int:
        """How many watches this root has now."""
        return len(self._nodes)

    def plant(self, top: int) -> None:
        """Watch all there is below the open root. Raises OSError when the root itself cannot be watched."""
        self.unwatched = 0
        node = self._add(None, "", top, Kind.ROOT)
        if node is None:
            raise OSError(errno.ENOSPC, "no inotify watch to be had for the root")
        self._top = node
        self._look_below(node, top, None, loud=False)

    def uproot(self) -> None:
        """Give up all watches."""
        self._inotify.remove_callbacks([(node.wd, node.callback) for node in self._nodes.values()])
        self._nodes.clear()
        self._top = None

    def hear(self, news: dict[WatchDescriptor, News], top: int) -> bool:
        """Follow up what the kernel said; False when the root itself is gone or renamed."""
        for wd, one in news.items():
            node = self._nodes.get(wd)
            if node is None:
                continue
            if node.kind is Kind.ROOT and (one.gone or one.moved):
                return False
            with suppress(WorkspaceError, OSError):
                self._follow(node, one, top)
        return True

    def want(self, name: str, top: int) -> None:
        """Give the workspace `name` its watches (back)."""
        node = self._top
        for base in name.split("/"):
            if node is None:
                return
            child = node.children.get(base)
            if child is None:
                with suppress(WorkspaceError, OSError):
                    self._look_again(node, top, {base}, loud=False)
                return
            node = child

    def _follow(self, node: Node, news: News, top: int) -> None:
        if news.gone:
            self._lost(node, top)
            return
        if news.moved and node.parent is not None:
            self._look_again(node.parent, top, {node.base})
            if self._nodes.get(node.wd) is node and not self._is_at(node, top):
                self._drop(node)
            return
        workspace = node.parent if node.kind is Kind.META else node
        assert workspace is not None
        if news.marked:
            workspace.heat = time.time()
        if news.changed:
            workspace.heat = time.time() + _UNCOMMITTED
            if workspace.kind is Kind.WORKSPACE:
                self._announce(Candidate(self._root, workspace.name))
            else:
                self._look_again(workspace, top, None)
        if news.names is None or news.names:
            self._appeared(node, news.names, top)

    def _appeared(self, node: Node, names: set[str] | None, top: int) -> None:
        """Directories appeared: new levels or workspaces, or what makes this directory a workspace."""
        if node.kind is Kind.WORKSPACE and (names is None or layout.META in names):
            self._look_again(node, top, None)
        elif node.kind in (Kind.ROOT, Kind.LEVEL):
            telling = names is None or not names.isdisjoint(layout.TELLING_DIRECTORIES)
            self._look_again(node, top, None if telling else names)

    def _lost(self, node: Node, top: int) -> None:
        parent = node.parent
        self._drop(node)
        if node.kind is Kind.META and parent is not None:
            self._look_again(parent, top, None)
        elif node.kind is Kind.WORKSPACE and parent is not None:
            self._announce(Candidate(self._root, f"{parent.name}/{node.base}".lstrip("/")))

    def _look_again(self, node: Node, top: int, names: Iterable[str] | None, *, loud: bool = True) -> None:
        directory = files.walk(top, node.name) if node.parent is not None else os.dup(top)
        try:
            if node.kind is Kind.ROOT or names is not None:
                self._look_below(node, directory, names, loud=loud)
            else:
                self._look_into(node, directory, loud=loud)
        finally:
            os.close(directory)

    def _look_into(self, node: Node, directory: int, *, loud: bool) -> None:
        """Judge a watched directory: a workspace, or a level whose directories are visited."""
        name = node.name
        node.kind = Kind.LEVEL  # and so not one whose watches can be given up to make room for its `.meta`
        self._watch_meta(node, directory)
        found = sight(self._root, directory, ".", name)
        if found is None:
            if name.count("/") + 1 < self._root.max_depth:
                self._look_below(node, directory, None, loud=loud)
            return
        node.kind = Kind.WORKSPACE
        committed = not found.signature.endswith("|")
        node.heat = found.changed_at + (0 if committed else _UNCOMMITTED)
        for child in list(node.children.values()):
            self._drop(child)
        if loud:
            self._announce(found)

    def _watch_meta(self, node: Node, directory: int) -> None:
        try:
            meta = files.open_directory(directory, layout.META, layout.META)
        except WorkspaceError:
            return
        try:
            node.meta = self._add(node, layout.META, meta, Kind.META)
        finally:
            os.close(meta)

    def _look_below(self, node: Node, directory: int, names: Iterable[str] | None, *, loud: bool) -> None:
        """Visit the named directories of a level; with None, all that are not watched yet."""
        if names is None:
            with os.scandir(directory) as entries:
                names = [e.name for e in entries if e.is_dir(follow_symlinks=False) and e.name not in node.children]
        beside = node.kind is not Kind.ROOT and (
            layout.exists(directory, layout.META) or layout.exists(directory, layout.STATUS)
        )
        prefix = f"{node.name}/" if node.parent is not None else ""
        for base in names:
            name = prefix + base
            if not layout.may_enter(self._root, name, name.count("/") + 1, beside):
                continue
            with suppress(WorkspaceError, OSError):
                self._visit(node, directory, base, loud=loud)

    def _visit(self, parent: Node, directory: int, base: str, *, loud: bool) -> None:
        inner = files.open_directory(directory, base, base)
        try:
            node = self._add(parent, base, inner, Kind.LEVEL)
            if node is None:
                self.unwatched += 1
                found = sight(self._root, inner, ".", f"{parent.name}/{base}".lstrip("/"))
                if loud and found is not None:
                    self._announce(found)
                return
            self._look_into(node, inner, loud=loud)
        finally:
            os.close(inner)

    def _add(self, parent: Node | None, base: str, directory: int, kind: Kind) -> Node | None:
        """Watch an open directory; None when the kernel has no watch left, even after others were given up."""
        # The magic link leads to the very directory that is open, whatever its name leads to by now.
        path = b"/proc/self/fd/%d" % directory
        callback = CallbackId(next(self._callbacks))
        try:
            wd = self._inotify.add_callback(path, _MASKS[kind], self._inbox, callback)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.ENOMEM):
                raise
            if not self._make_room():
                return None
            try:
                wd = self._inotify.add_callback(path, _MASKS[kind], self._inbox, callback)
            except OSError:
                return None
        if wd < 0:  # watchdog 7.1 answers EACCES with -1 instead of an exception
            self._inotify.remove_callbacks([(wd, callback)])
            raise PermissionError(errno.EACCES, "cannot be watched", base)
        return self._place(wd, callback, (parent, base, kind))

    def _place(self, wd: WatchDescriptor, callback: CallbackId, spot: tuple[Node | None, str, Kind]) -> Node:
        parent, base, kind = spot
        node = self._nodes.get(wd)
        if node is None:
            node = self._nodes[wd] = Node(wd, callback, parent, base, kind)
        else:
            # The same directory under an old or a new name: the kernel keeps one watch for it.
            self._inotify.remove_callbacks([(wd, node.callback)])
            self._detach(node)
            node.callback, node.parent, node.base = callback, parent, base
        if parent is not None and kind is not Kind.META:
            parent.children[base] = node
        return node

    def _detach(self, node: Node) -> None:
        parent = node.parent
        if parent is not None and parent.children.get(node.base) is node:
            del parent.children[node.base]
        if parent is not None and parent.meta is node:
            parent.meta = None

    def _drop(self, node: Node) -> None:
        """Give up a watch and those below it."""
        self._detach(node)
        waiting = [node]
        dropped = []
        while waiting:
            one = waiting.pop()
            if self._nodes.pop(one.wd, None) is not None:
                dropped.append((one.wd, one.callback))
            waiting += one.children.values()
            if one.meta is not None:
                waiting.append(one.meta)
        self._inotify.remove_callbacks(dropped)

    def _make_room(self) -> bool:
        """Give up the watches of the coldest workspaces; False when there is none to give up."""
        workspaces = [node for node in self._nodes.values() if node.kind is Kind.WORKSPACE]
        coldest = heapq.nsmallest(1 + len(workspaces) // _EVICT_SHARE, workspaces, key=lambda node: node.heat)
        for node in coldest:
            self._drop(node)
            self.unwatched += 1
        return bool(coldest)

    def _is_at(self, node: Node, top: int) -> bool:
        """Whether the node's name still leads to its directory: the kernel knows it by the same watch."""
        try:
            directory = files.walk(top, node.name)
        except WorkspaceError:
            return False
        try:
            return self._add(node.parent, node.base, directory, node.kind) is node
        finally:
            os.close(directory)
