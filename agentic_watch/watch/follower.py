"""Changes become looks: what the kernel said of a directory, and what no event leads back to."""

from __future__ import annotations

import logging
import time

from watchdog.observers.inotify_c import WatchDescriptor

from agentic_watch.config import Root
from agentic_watch.watch.change_queues import DirectoryChange, Kind, WatchedDirectory
from agentic_watch.watch.hints import Announce
from agentic_watch.watch.rechecks import Rechecks
from agentic_watch.watch.tree import Tree
from agentic_watch.workspace import layout
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.workspace_errors import Malformed, Missing, WorkspaceError

log = logging.getLogger("agentic_watch.watch")

_NAMED_AT_MOST = 3
"""Throttled workspaces that are named at a time; that there are more is said once."""


class Follower:
    """Keeps a root's tree true. Owned by its root's thread; `top` is always the root, open."""

    def __init__(self, root: Root, rechecks: Rechecks, on_throttled: Announce) -> None:
        self._root = root
        self._on_throttled = on_throttled
        self._rechecks = rechecks
        self._named: set[str] = set()

    def follow(self, tree: Tree, changes: dict[WatchDescriptor, DirectoryChange], top: int) -> bool:
        """Follow up what the kernel said; False when the root itself is gone or renamed."""
        for wd, change in changes.items():
            node = tree.directories.get(wd)
            if node is None:
                continue
            if node.kind is Kind.ROOT and (change.gone or change.moved):
                return False
            try:
                self._follow(tree, node, change, top)
            except (Missing, Malformed, FileNotFoundError):
                continue
            except (WorkspaceError, OSError):
                self._rechecks.add(node.workspace.name, time.monotonic())
        return True

    def until_next(self, longest: float) -> float:
        """Seconds until `recheck` has something to do, at most `longest`."""
        return self._rechecks.until_next(longest, time.monotonic())

    def recheck(self, tree: Tree, top: int) -> None:
        """Look at what no event leads back to."""
        now = time.monotonic()
        for path, one in self._rechecks.take(now).items():
            try:
                tree.recheck(path, one, top)
            except (Missing, Malformed, FileNotFoundError):
                continue
            except (WorkspaceError, OSError):
                self._rechecks.add(path, time.monotonic(), identity=one.identity)
        for path in self._rechecks.settled(now):
            if path in self._named:
                self._named.discard(path)
                log.info("%s: event rate back to normal", path or self._root.path, extra=self._where(path))

    def _follow(self, tree: Tree, node: WatchedDirectory, change: DirectoryChange, top: int) -> None:
        if change.gone or (change.moved and not tree.is_in_place(node, top)):
            tree.leave(node, top)
            return
        workspace = node.workspace
        if change.throttled:
            self._throttle(tree, node, top)
            return
        if change.changed:
            tree.look_again(workspace, top)
        elif change.status_removed and workspace.kind is Kind.WORKSPACE:
            self._rechecks.add(workspace.name, time.monotonic())
        names = change.names
        if names is not None and change.opened:
            names = names | self._newly_open(node, change.opened)
        if names is None or names:
            _appeared(tree, node, names, top)

    def _newly_open(self, node: WatchedDirectory, opened: set[str]) -> set[str]:
        """Of the directories whose permissions changed ("" is the one that holds them), those to be tried again."""
        refused = self._rechecks.below(node.name)
        found = refused if "" in opened else opened & refused
        if node.meta is None or node.kind is Kind.WORKSPACE:
            found |= opened & {layout.META}
        return found

    def _throttle(self, tree: Tree, node: WatchedDirectory, top: int) -> None:
        """Its watch was taken away: it has one again, and is looked at, after a while."""
        path, identity = tree.throttle(node, top)
        self._rechecks.add(path, time.monotonic(), throttled=True, identity=identity)
        self._on_throttled(Candidate(self._root, path))
        if path in self._named or len(self._named) > _NAMED_AT_MOST:
            return
        self._named.add(path)
        text = "%s: too many file events; polling it every 1 to 16 s until it settles"
        if len(self._named) > _NAMED_AT_MOST:
            text = "%s and others: too many file events; polling each every 1 to 16 s until it settles"
        log.warning(text, path or self._root.path, extra=self._where(path))

    def _where(self, path: str) -> dict[str, str]:
        return {"root": self._root.key, "workspace": path}


def _appeared(tree: Tree, node: WatchedDirectory, names: set[str] | None, top: int) -> None:
    """Directories appeared: new levels or workspaces, or what makes this directory a workspace."""
    if node.kind is Kind.WORKSPACE and (names is None or layout.META in names):
        tree.look_again(node, top)
    elif node.kind in (Kind.ROOT, Kind.LEVEL):
        telling = names is None or not names.isdisjoint(layout.TELLING_DIRECTORIES)
        tree.look_again(node, top, None if telling else names)
