"""The watched directories of one root: the root, the levels between, each workspace and its `.meta`.

Clones are never watched, so builds in them cost the watcher nothing. A watch is added before its directory is read, so
that no change is missed in between.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from agentic_watch.config import Root
from agentic_watch.scan import is_marked, sight
from agentic_watch.watch.change_queues import UNCOMMITTED, Announce, Kind, WatchedDirectory
from agentic_watch.watch.rechecks import Recheck, Rechecks
from agentic_watch.watch.watches import NO_WATCH, DeferredWatches, Watches
from agentic_watch.workspace import files, layout
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.layout import may_enter
from agentic_watch.workspace.workspace_errors import Malformed, Missing, WorkspaceError

GoOn = Callable[[str], bool]
"""Called with a directory's path below the root before it is entered; False to skip it because it may hang."""


class Tree:
    """Owned by one thread. `announce` receives each workspace that appeared or changed; `go_on` may exclude a
    directory.

    `top` is always the open root. Directories that cannot be entered are tried again later (`rechecks`); the scan
    reports them.
    """

    def __init__(self, root: Root, watches: Watches, announce: Announce, go_on: GoOn, rechecks: Rechecks) -> None:
        self._root = root
        self.watches = watches
        self._announce = announce
        self._go_on = go_on
        self._rechecks = rechecks
        self._top: WatchedDirectory | None = None
        self._is_silent = False
        self._deferred = DeferredWatches()

    @property
    def is_whole(self) -> bool:
        """Whether no watch is deferred any more (`watch_deferred`)."""
        return not self._deferred

    def watch_all(self, top: int) -> None:
        """Watch everything except what can be deferred, without announcing it: a scan follows. Raises OSError when the
        root cannot be watched."""
        self._top = self.watches.add(None, "", top, Kind.ROOT)
        if self._top is None:
            raise OSError(errno.ENOSPC, "no inotify watch is left for it; raise fs.inotify.max_user_watches (sysctl)")
        self._is_silent = True
        self._look_below(self._top, top, None)
        self._is_silent = False

    def watch_deferred(self, top: int) -> bool:
        """Place some of the deferred watches without announcing them; True when these were the last, and a scan has to
        follow."""
        if self.watches.short:
            self._deferred.clear()  # these are the coldest workspaces
            return True
        self._is_silent = True
        for node, names in self._deferred.take().items():
            if self.holds(node):
                with suppress(WorkspaceError, OSError):
                    self.look_again(node, top, [base for base in names if base not in node.children])
        self._is_silent = False
        return self.is_whole

    def unwatch_all(self) -> None:
        """Remove all watches."""
        self.watches.clear()
        self._top = None

    def ensure_watched(self, name: str, top: int) -> None:
        """A scan found the workspace `name`: place its watches if any is missing."""
        node, missing = self._nearest(name)
        names = {missing} if missing and node.kind is not Kind.WORKSPACE else None
        if node.name != name or node.kind is not Kind.WORKSPACE or node.meta is None:
            with suppress(WorkspaceError, OSError):
                self.look_again(node, top, names)

    def remounted(self, name: str, top: int) -> None:
        """A mount at the path `name` appeared or ended: another directory may be there now."""
        node, missing = self._nearest(name)
        with suppress(WorkspaceError, OSError):
            if missing and node.kind is not Kind.WORKSPACE:
                self.look_again(node, top, {missing})
            elif not missing and node.parent is not None:
                self.leave(node, top)

    def _nearest(self, name: str) -> tuple[WatchedDirectory, str]:
        """The last watched directory on the path to `name`, and the first component without a watch; "" if `name` is
        watched."""
        node = self._top
        assert node is not None
        for base in name.split("/"):
            child = node.meta if base == layout.META else node.children.get(base)
            if child is None:
                return node, base
            node = child
        return node, ""

    def holds(self, node: WatchedDirectory) -> bool:
        """Whether `node` is still part of the tree; an ancestor may have been removed."""
        while (parent := node.parent) is not None:
            if parent.children.get(node.base) is not node and parent.meta is not node:
                return False
            node = parent
        return node is self._top

    def is_in_place(self, node: WatchedDirectory, top: int) -> bool:
        """Whether the directory of a watch is still at its recorded path."""
        with suppress(WorkspaceError):
            directory = files.walk(top, node.name)
            try:
                return self.watches.is_of(node, directory)
            finally:
                os.close(directory)
        return False

    def leave(self, node: WatchedDirectory, top: int) -> None:
        """A directory is no longer at its path. Another may already have its name, or it may have been found at its new
        path before this event was handled, so its old path is examined again."""
        parent = node.parent
        assert parent is not None
        if node.kind is Kind.WORKSPACE:
            self._announce(Candidate(self._root, node.name))
        self.watches.drop(node)
        self.look_again(parent, top, None if node.kind is Kind.META else {node.base})

    def throttle(self, node: WatchedDirectory, top: int) -> tuple[str, tuple[int, int] | None]:
        """The watch of a directory was removed: a workspace loses all its watches, a level stays in the tree without
        one.

        Returns the path to recheck, and for a level the directory's device and inode.
        """
        workspace = node.workspace
        if node.kind is Kind.META or node.kind is Kind.WORKSPACE:
            self.watches.drop(workspace if workspace.kind is Kind.WORKSPACE else node)
            return workspace.name, None
        self.watches.lose(node)
        with suppress(WorkspaceError, OSError):
            directory = self._open(node, top)
            try:
                return node.name, _identity(directory)
            finally:
                os.close(directory)
        return node.name, None

    def recheck(self, path: str, recheck: Recheck, top: int) -> None:
        """Watch the directory `path` if it has no watch, and classify it again. Raises WorkspaceError, OSError."""
        node, missing = self._nearest(path) if path else (self._top, "")
        assert node is not None
        if missing:
            self.look_again(node, top, {missing})
            if recheck.throttled and self._nearest(path)[1]:
                self._announce(Candidate(self._root, path))  # it may be gone, and no event says so
            return
        if node.wd == NO_WATCH:
            try:
                directory = self._open(node, top)
            except (Missing, Malformed):
                self.leave(node, top)  # no event says that it is gone
                return
            try:
                if node.parent is not None and _identity(directory) != recheck.identity:
                    self.leave(node, top)
                    return
                self.watches.regain(node, directory)
            finally:
                os.close(directory)
        was_workspace = node.kind is Kind.WORKSPACE
        self.look_again(node, top)
        if was_workspace and node.kind is not Kind.WORKSPACE:
            self._announce(Candidate(self._root, path))  # reports that it is no workspace any more

    def _open(self, node: WatchedDirectory, top: int) -> int:
        return files.walk(top, node.name) if node.parent is not None else os.dup(top)

    def look_again(self, node: WatchedDirectory, top: int, names: Iterable[str] | None = None) -> None:
        """Classify a directory again, or only its named subdirectories. Raises WorkspaceError, OSError."""
        directory = self._open(node, top)
        try:
            if node.kind is Kind.ROOT or names is not None:
                self._look_below(node, directory, names)
            else:
                self._look_into(node, directory)
        finally:
            os.close(directory)

    def _look_into(self, node: WatchedDirectory, directory: int) -> None:
        """Classify a watched directory as a workspace, or as a level whose subdirectories are visited."""
        name = node.name
        node.kind = Kind.LEVEL  # so that its own watches are not evicted to make room for its `.meta`
        self._watch_meta(node, directory)
        found = sight(self._root, directory, ".", name)
        if found is None:
            if name.count("/") + 1 < self._root.max_depth:
                self._look_below(node, directory, None)
            return
        node.kind = Kind.WORKSPACE
        node.heat = found.changed_at + (0 if is_marked(found) else UNCOMMITTED)
        for child in list(node.children.values()):
            self.watches.drop(child)
        self._tell(found)

    def _watch_meta(self, node: WatchedDirectory, directory: int) -> None:
        try:
            meta = files.open_directory(directory, layout.META, layout.META)
        except WorkspaceError:
            return
        try:
            self.watches.add(node, layout.META, meta, Kind.META)
        finally:
            os.close(meta)

    def _look_below(self, node: WatchedDirectory, directory: int, names: Iterable[str] | None) -> None:
        """Visit the named subdirectories of a level; with None, all that are not watched yet."""
        beside = node.kind is not Kind.ROOT and (
            layout.exists(directory, layout.META) or layout.exists(directory, layout.STATUS)
        )
        prefix = node.path_of("")
        depth = prefix.count("/") + 1
        is_whole = names is None
        can_wait = self._is_silent and is_whole
        if names is None:
            self._leave_clones(node, beside)
            with os.scandir(directory) as entries:
                names = [e.name for e in entries if e.is_dir(follow_symlinks=False) and e.name not in node.children]
        for base in names:
            path = prefix + base
            if not may_enter(self._root, base, path, depth, beside) or (is_whole and path in self._rechecks):
                continue
            if not self._go_on(path):
                continue
            if not (can_wait and self._deferred.defer(node, directory, base)):
                self._try(node, directory, base)

    def _try(self, node: WatchedDirectory, directory: int, base: str) -> None:
        """Visit a directory; schedule a recheck if it cannot be entered."""
        try:
            self._visit(node, directory, base)
        except (Missing, Malformed, FileNotFoundError, NotADirectoryError):
            self._rechecks.discard(node.path_of(base))
        except (WorkspaceError, OSError):
            self._rechecks.add(node.path_of(base), time.monotonic())
        else:
            self._rechecks.discard(node.path_of(base))

    def _leave_clones(self, node: WatchedDirectory, beside: bool) -> None:
        """Unwatch clones that were watched before a `.meta` or status beside them showed that they are clones."""
        for base in layout.TELLING_DIRECTORIES & node.children.keys():
            name = node.path_of(base)
            if not may_enter(self._root, base, name, name.count("/") + 1, beside):
                self.watches.drop(node.children[base])

    def _visit(self, parent: WatchedDirectory, directory: int, base: str) -> None:
        inner = files.open_directory(directory, base, base)
        try:
            node = self.watches.add(parent, base, inner, Kind.LEVEL)
            if node is not None:
                self._look_into(node, inner)
            elif (found := sight(self._root, inner, ".", parent.path_of(base))) is not None:
                self._tell(found)
        finally:
            os.close(inner)

    def _tell(self, found: Candidate) -> None:
        if not self._is_silent:
            self._announce(found)


def _identity(directory: int) -> tuple[int, int]:
    info = os.fstat(directory)
    return info.st_dev, info.st_ino
