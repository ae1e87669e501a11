"""The watched directories of one root: the root, the levels between, each workspace and its `.meta`.

Never inside a clone: what an agent builds there costs the watcher nothing. A watch is added first and the
directory looked into then, so that nothing falls between.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from threading import Event

from watchdog.observers.inotify_c import WatchDescriptor

from agentic_watch.config import Root
from agentic_watch.scan import is_marked, sight
from agentic_watch.watch.hints import Announce
from agentic_watch.watch.late_watches import LateWatches
from agentic_watch.watch.revisits import Refused
from agentic_watch.watch.watches import Kind, Node, Watches
from agentic_watch.workspace import files, layout
from agentic_watch.workspace.layout import Candidate
from agentic_watch.workspace.never_entered import may_enter
from agentic_watch.workspace.workspace_errors import Malformed, Missing, WorkspaceError

_UNCOMMITTED = 1e9
"""Seconds by which an uncommitted workspace counts as warmer than any committed one."""


class Tree:
    """Owned by one thread. `announce` hears of each workspace that appeared or changed; `stopped` ends a long look.

    `top` is always the root, open. What cannot be looked into is tried again later (revisits.py); the scan tells of it.
    """

    def __init__(self, root: Root, watches: Watches, announce: Announce, stopped: Event) -> None:
        self._root = root
        self._watches = watches
        self._announce = announce
        self._stopped = stopped
        self._top: Node | None = None
        self._planting = False
        self._late = LateWatches()
        self.refused = Refused()

    @property
    def watches(self) -> int:
        """How many watches this root has now."""
        return len(self._watches)

    @property
    def short(self) -> bool:
        """Whether workspaces have given up, or never got, their watches."""
        return self._watches.short

    @property
    def is_whole(self) -> bool:
        """Whether all have the watches that are meant for them (`plant_late`)."""
        return not self._late

    def plant(self, top: int) -> None:
        """Watch all there is but what can wait, without a word: a scan follows. Raises OSError when the root cannot be
        watched."""
        self._top = self._watches.add(None, "", top, Kind.ROOT)
        if self._top is None:
            raise OSError(errno.ENOSPC, "no inotify watch is left for it; raise fs.inotify.max_user_watches (sysctl)")
        self._planting = True
        self._look_below(self._top, top, None)
        self._planting = False

    def plant_late(self, top: int) -> bool:
        """Watch some of those that could wait, without a word: a scan follows when that was all, as this tells."""
        node, names = self._late.take()
        if self.short:
            self._late.clear()  # they are the coldest
        elif self.holds(node):
            self._planting = True
            with suppress(WorkspaceError, OSError):
                self.look_again(node, top, [base for base in names if base not in node.children])
            self._planting = False
        return self.is_whole

    def uproot(self) -> None:
        """Give up all watches."""
        self._watches.clear()
        self._top = None

    def told(self, wd: WatchDescriptor, marked: bool) -> bool:
        """The status or report of a known workspace was written, or it was `marked`: announce it; False for any other.

        Called by watchdog's thread too, so that this news need not wait for another one: only looks things up here.
        """
        node = self._watches.get(wd)
        workspace = node.parent if node is not None and node.kind is Kind.META else node
        if workspace is None or workspace.kind is not Kind.WORKSPACE:
            return False
        workspace.heat = time.time() + (0 if marked else _UNCOMMITTED)
        if not marked:
            self._announce(Candidate(self._root, workspace.name), True)
        return True

    def want(self, name: str, top: int) -> None:
        """A scan found the workspace `name`: give it its watches when it has none, or not all."""
        node, missing = self._nearest(name)
        names = {missing} if missing and node.kind is not Kind.WORKSPACE else None
        if node.name != name or node.kind is not Kind.WORKSPACE or node.meta is None:
            with suppress(WorkspaceError, OSError):
                self.look_again(node, top, names)

    def remounted(self, name: str, top: int) -> None:
        """Something was mounted at, or unmounted from, the path `name`: another directory may be there now."""
        node, missing = self._nearest(name)
        if not missing and node.parent is not None:
            with suppress(WorkspaceError, OSError):
                self.leave(node, top)

    def _nearest(self, name: str) -> tuple[Node, str]:
        """The last watched directory on the way to `name`, and the component that is not; "" when it is `name`."""
        node = self._top
        assert node is not None
        for base in name.split("/"):
            child = node.meta if base == layout.META else node.children.get(base)
            if child is None:
                return node, base
            node = child
        return node, ""

    def get(self, wd: WatchDescriptor) -> Node | None:
        """The directory of a watch; None when it is watched no longer."""
        return self._watches.get(wd)

    def holds(self, node: Node) -> bool:
        """Whether it is still part of the tree, which an ancestor of it may have left."""
        while (parent := node.parent) is not None:
            if parent.children.get(node.base) is not node and parent.meta is not node:
                return False
            node = parent
        return node is self._top

    def is_in_place(self, node: Node, top: int) -> bool:
        """Whether the directory that a watch stands for is where it is believed to be."""
        with suppress(WorkspaceError):
            directory = files.walk(top, node.name)
            try:
                return self._watches.is_of(node, directory)
            finally:
                os.close(directory)
        return False

    def leave(self, node: Node, top: int) -> None:
        """A directory is no longer where it was. Another may have its name already, or it was met at its new place
        before this was heard: so its place is looked at anew."""
        parent = node.parent
        assert parent is not None
        if node.kind is Kind.WORKSPACE:
            self._announce(Candidate(self._root, node.name), False)
        self._watches.drop(node)
        self.look_again(parent, top, None if node.kind is Kind.META else {node.base})

    def mute(self, node: Node) -> None:
        """Its watch was taken away; the directory keeps its place."""
        self._watches.mute(node)

    def hear_again(self, node: Node, top: int) -> None:
        """Watch a muted directory again. Raises OSError or WorkspaceError when that cannot be."""
        directory = self._open(node, top)
        try:
            self._watches.hear_again(node, directory)
        finally:
            os.close(directory)

    def sight(self, workspace: Node, top: int) -> Candidate | None:
        """The workspace as it is now; None when it is none any more."""
        directory = self._open(workspace, top)
        try:
            return sight(self._root, directory, ".", workspace.name)
        finally:
            os.close(directory)

    def _open(self, node: Node, top: int) -> int:
        return files.walk(top, node.name) if node.parent is not None else os.dup(top)

    def look_again(self, node: Node, top: int, names: Iterable[str] | None = None) -> None:
        """Judge a directory anew, or only those of its directories that are named. Raises WorkspaceError, OSError."""
        directory = self._open(node, top)
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
            self._watches.drop(child)
        self._tell(found)

    def _watch_meta(self, node: Node, directory: int) -> None:
        try:
            meta = files.open_directory(directory, layout.META, layout.META)
        except WorkspaceError:
            return
        try:
            self._watches.add(node, layout.META, meta, Kind.META)
        finally:
            os.close(meta)

    def _look_below(self, node: Node, directory: int, names: Iterable[str] | None) -> None:
        """Visit the named directories of a level; with None, all that are not watched yet."""
        beside = node.kind is not Kind.ROOT and (
            layout.exists(directory, layout.META) or layout.exists(directory, layout.STATUS)
        )
        prefix = node.path_of("")
        depth = prefix.count("/") + 1
        can_wait = self._planting and names is None
        if names is None:
            self._leave_clones(node, beside)
            with os.scandir(directory) as entries:
                names = [e.name for e in entries if e.is_dir(follow_symlinks=False) and e.name not in node.children]
        for base in names:
            if self._stopped.is_set():
                return
            if not may_enter(self._root, base, prefix + base, depth, beside):
                continue
            if not (can_wait and self._late.put_off(node, directory, base)):
                self._try(node, directory, base)

    def _try(self, node: Node, directory: int, base: str) -> None:
        """Visit a directory; one that may not be looked into is remembered."""
        try:
            self._visit(node, directory, base)
        except (Missing, Malformed, FileNotFoundError, NotADirectoryError):
            self.refused.admit(node, base)
        except (WorkspaceError, OSError):
            self.refused.add(node, base)
        else:
            self.refused.admit(node, base)

    def _leave_clones(self, node: Node, beside: bool) -> None:
        """A clone may stand, watched, before the `.meta` or the status beside it tells that it is one."""
        for base in layout.TELLING_DIRECTORIES & node.children.keys():
            name = node.path_of(base)
            if not may_enter(self._root, base, name, name.count("/") + 1, beside):
                self._watches.drop(node.children[base])

    def _visit(self, parent: Node, directory: int, base: str) -> None:
        inner = files.open_directory(directory, base, base)
        try:
            node = self._watches.add(parent, base, inner, Kind.LEVEL)
            if node is not None:
                self._look_into(node, inner)
            elif (found := sight(self._root, inner, ".", parent.path_of(base))) is not None:
                self._tell(found)
        finally:
            os.close(inner)

    def _tell(self, found: Candidate) -> None:
        if not self._planting:
            self._announce(found, False)
