"""The watched directories of one root: the root, the levels between, each workspace and its `.meta`.

Never inside a clone: what an agent builds there costs the watcher nothing. A watch is added first and the
directory looked into then, so that nothing falls between.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Event

from watchdog.observers.inotify_c import WatchDescriptor

from agentic_watch.config import Root
from agentic_watch.scan import is_marked, sight
from agentic_watch.watch.inbox import News
from agentic_watch.watch.nodes import Kind, Node, Nodes
from agentic_watch.workspace import files, layout
from agentic_watch.workspace.layout import Candidate
from agentic_watch.workspace.never_entered import may_enter
from agentic_watch.workspace.workspace_errors import WorkspaceError

_UNCOMMITTED = 1e9
"""Seconds by which an uncommitted workspace counts as warmer than any committed one."""


class Tree:
    """Owned by one thread. `announce` hears of each workspace that appeared or changed; `stopped` ends a long look.

    `top` is always the root, open. What cannot be looked into is passed over: the scan tells of it.
    """

    def __init__(self, root: Root, nodes: Nodes, announce: Callable[[Candidate], None], stopped: Event) -> None:
        self._root = root
        self._nodes = nodes
        self._announce = announce
        self._stopped = stopped
        self._top: Node | None = None
        self._planting = False

    @property
    def watches(self) -> int:
        """How many watches this root has now."""
        return len(self._nodes)

    @property
    def short(self) -> bool:
        """Whether workspaces have given up, or never got, their watches."""
        return self._nodes.short

    def plant(self, top: int) -> None:
        """Watch all there is, without a word: a scan follows. Raises OSError when the root cannot be watched."""
        self._top = self._nodes.add(None, "", top, Kind.ROOT)
        if self._top is None:
            raise OSError(errno.ENOSPC, "no inotify watch is left for it; raise fs.inotify.max_user_watches (sysctl)")
        self._planting = True
        self._look_below(self._top, top, None)
        self._planting = False

    def uproot(self) -> None:
        """Give up all watches."""
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

    def told(self, wd: WatchDescriptor, marked: bool) -> bool:
        """The status or report of a known workspace was written, or it was `marked`: announce it; False for any other.

        Called by watchdog's thread too, so that this news need not wait for another one: only looks things up here.
        """
        node = self._nodes.get(wd)
        workspace = node.parent if node is not None and node.kind is Kind.META else node
        if workspace is None or workspace.kind is not Kind.WORKSPACE:
            return False
        workspace.heat = time.time() + (0 if marked else _UNCOMMITTED)
        if not marked:
            self._announce(Candidate(self._root, workspace.name))
        return True

    def want(self, name: str, top: int) -> None:
        """A scan found the workspace `name`: give it its watches when it has none, or not all."""
        node = self._top
        assert node is not None
        names = None
        for base in name.split("/"):
            child = node.children.get(base)
            if child is None:
                names = {base} if node.kind is not Kind.WORKSPACE else None
                break
            node = child
        if node.name != name or node.kind is not Kind.WORKSPACE or node.meta is None:
            with suppress(WorkspaceError, OSError):
                self._look_again(node, top, names)

    def _follow(self, node: Node, news: News, top: int) -> None:
        if news.gone or news.moved:
            self._leave(node, top)
            return
        workspace = node.parent if node.kind is Kind.META else node
        assert workspace is not None
        if news.changed and not self.told(node.wd, False):
            self._look_again(workspace, top)
        if news.names is None or news.names:
            self._appeared(node, news.names, top)

    def _appeared(self, node: Node, names: set[str] | None, top: int) -> None:
        """Directories appeared: new levels or workspaces, or what makes this directory a workspace."""
        if node.kind is Kind.WORKSPACE and (names is None or layout.META in names):
            self._look_again(node, top)
        elif node.kind in (Kind.ROOT, Kind.LEVEL):
            telling = names is None or not names.isdisjoint(layout.TELLING_DIRECTORIES)
            self._look_again(node, top, None if telling else names)

    def _leave(self, node: Node, top: int) -> None:
        """A directory is no longer where it was. Another may have its name already, or it was met at its new place
        before this was heard: so its place is looked at anew."""
        parent = node.parent
        assert parent is not None
        if node.kind is Kind.WORKSPACE:
            self._announce(Candidate(self._root, node.name))
        self._nodes.drop(node)
        self._look_again(parent, top, None if node.kind is Kind.META else {node.base})

    def _look_again(self, node: Node, top: int, names: Iterable[str] | None = None) -> None:
        directory = files.walk(top, node.name) if node.parent is not None else os.dup(top)
        try:
            if node.kind is Kind.ROOT or names is not None:
                self._look_below(node, directory, names)
            else:
                self._look_into(node, directory)
        finally:
            os.close(directory)

    def _look_into(self, node: Node, directory: int) -> None:
        """Judge a watched directory: a workspace, or a level whose directories are visited."""
        name = node.name
        node.kind = Kind.LEVEL  # and so not one whose watches can be given up to make room for its `.meta`
        self._watch_meta(node, directory)
        found = sight(self._root, directory, ".", name)
        if found is None:
            if name.count("/") + 1 < self._root.max_depth:
                self._look_below(node, directory, None)
            return
        node.kind = Kind.WORKSPACE
        node.heat = found.changed_at + (0 if is_marked(found) else _UNCOMMITTED)
        for child in list(node.children.values()):
            self._nodes.drop(child)
        self._tell(found)

    def _watch_meta(self, node: Node, directory: int) -> None:
        try:
            meta = files.open_directory(directory, layout.META, layout.META)
        except WorkspaceError:
            return
        try:
            self._nodes.add(node, layout.META, meta, Kind.META)
        finally:
            os.close(meta)

    def _look_below(self, node: Node, directory: int, names: Iterable[str] | None) -> None:
        """Visit the named directories of a level; with None, all that are not watched yet."""
        beside = node.kind is not Kind.ROOT and (
            layout.exists(directory, layout.META) or layout.exists(directory, layout.STATUS)
        )
        if names is None:
            self._leave_clones(node, beside)
            with os.scandir(directory) as entries:
                names = [e.name for e in entries if e.is_dir(follow_symlinks=False) and e.name not in node.children]
        for base in names:
            if self._stopped.is_set():
                return
            if self._may_enter(node, base, beside):
                with suppress(WorkspaceError, OSError):
                    self._visit(node, directory, base)

    def _leave_clones(self, node: Node, beside: bool) -> None:
        """A clone may stand, watched, before the `.meta` or the status beside it tells that it is one."""
        for base in layout.TELLING_DIRECTORIES & node.children.keys():
            if not self._may_enter(node, base, beside):
                self._nodes.drop(node.children[base])

    def _may_enter(self, node: Node, base: str, beside: bool) -> bool:
        name = node.path_of(base)
        return may_enter(self._root, base, name, name.count("/") + 1, beside)

    def _visit(self, parent: Node, directory: int, base: str) -> None:
        inner = files.open_directory(directory, base, base)
        try:
            node = self._nodes.add(parent, base, inner, Kind.LEVEL)
            if node is not None:
                self._look_into(node, inner)
            elif (found := sight(self._root, inner, ".", parent.path_of(base))) is not None:
                self._tell(found)
        finally:
            os.close(inner)

    def _tell(self, found: Candidate) -> None:
        if not self._planting:
            self._announce(found)
