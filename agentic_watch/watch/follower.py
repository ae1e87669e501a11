"""News becomes looks: what the kernel said of a directory, and what no event leads back to."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

from watchdog.observers.inotify_c import WatchDescriptor

from agentic_watch.config import Root
from agentic_watch.watch.hints import Announce
from agentic_watch.watch.inbox import News
from agentic_watch.watch.noise import Silence
from agentic_watch.watch.revisits import Revisits
from agentic_watch.watch.tree import Tree
from agentic_watch.watch.watches import Kind, Node
from agentic_watch.workspace import layout
from agentic_watch.workspace.layout import Candidate
from agentic_watch.workspace.workspace_errors import Malformed, Missing, WorkspaceError

log = logging.getLogger("agentic_watch.watch")


_SAID_AT_MOST = 3
"""Loud workspaces that are named at a time; that there are more is said once."""


class Follower:
    """Keeps one tree true. Owned by its root's thread; `top` is always the root, open.

    `before` followed the tree that this one replaces: who was loud then is not news.
    """

    def __init__(self, root: Root, tree: Tree, announce: Announce, before: Follower | None = None) -> None:
        self._root = root
        self._tree = tree
        self._announce = announce
        self._revisits = Revisits()
        self._loud_before: dict[str, Silence] = before.loud() if before is not None else {}
        self._said: set[str] = before._said if before is not None else set()  # noqa: SLF001  its own kind

    def hear(self, news: dict[WatchDescriptor, News], top: int) -> bool:
        """Follow up what the kernel said; False when the root itself is gone or renamed."""
        for wd, one in news.items():
            node = self._tree.get(wd)
            if node is None:
                continue
            if node.kind is Kind.ROOT and (one.gone or one.moved):
                return False
            self._follow_or_remember(node, one, top)
        return True

    def patience(self, longest: float) -> float:
        """Seconds until `revisit` has something to do, at most `longest`."""
        return self._revisits.patience(longest, time.monotonic())

    def revisit(self, top: int) -> None:
        """Look at what no event leads back to."""
        now = time.monotonic()
        if self._revisits.is_time_to_try(now):
            self._try_refused(top)
        for node in self._revisits.due_bared(now):
            if self._tree.holds(node):
                with suppress(WorkspaceError, OSError):
                    self._look_at_bared(node, top)
        for node, silence in self._revisits.due_silenced(now):
            silence.looked(now)
            if not self._tree.holds(node):
                self._revisits.forget(node)
                continue
            with suppress(WorkspaceError, OSError):
                self._look_at_silenced(node, silence, now, top)
        for node in self._revisits.calmed(now):
            self._tell_calm(node)

    def loud(self) -> dict[str, Silence]:
        """Which directories are silenced, or not calm for long, by their path below the root."""
        return self._loud_before | self._revisits.loud()

    def _follow_or_remember(self, node: Node, news: News, top: int) -> None:
        try:
            self._follow(node, news, top)
        except (Missing, Malformed, FileNotFoundError):
            return
        except (WorkspaceError, OSError):
            if node.parent is not None:
                self._tree.refused.add(node.parent, node.base)

    def _follow(self, node: Node, news: News, top: int) -> None:
        if news.gone or (news.moved and not self._tree.is_in_place(node, top)):
            self._tree.leave(node, top)
            return
        if news.noisy:
            self._silence(node)
            return
        workspace = _workspace_of(node)
        if news.changed and not self._tree.told(node.wd, False):
            self._tree.look_again(workspace, top)
        elif news.bared and workspace.kind is Kind.WORKSPACE:
            self._revisits.bare(workspace, time.monotonic())
        names = news.names
        if names is not None and news.opened:
            names = names | self._newly_open(node, news.opened)
        if names is None or names:
            self._appeared(node, names, top)

    def _newly_open(self, node: Node, opened: set[str]) -> set[str]:
        """Of the directories whose permissions changed ("" is the one that holds them), those to be tried again."""
        refused = self._tree.refused.below(node)
        found = set(refused) if "" in opened else opened & refused
        if node.meta is None or node.kind is Kind.WORKSPACE:
            found |= opened & {layout.META}
        return found

    def _appeared(self, node: Node, names: set[str] | None, top: int) -> None:
        """Directories appeared: new levels or workspaces, or what makes this directory a workspace."""
        if node.kind is Kind.WORKSPACE and (names is None or layout.META in names):
            self._tree.look_again(node, top)
        elif node.kind in (Kind.ROOT, Kind.LEVEL):
            telling = names is None or not names.isdisjoint(layout.TELLING_DIRECTORIES)
            self._tree.look_again(node, top, None if telling else names)

    def _try_refused(self, top: int) -> None:
        for node, names in self._tree.refused.all():
            if self._tree.holds(node):
                with suppress(WorkspaceError, OSError):
                    self._tree.look_again(node, top, names)
            else:
                self._tree.refused.forget(node)

    def _look_at_bared(self, workspace: Node, top: int) -> None:
        self._tree.look_again(workspace, top)
        if workspace.kind is not Kind.WORKSPACE:
            self._announce(Candidate(self._root, workspace.name), False)  # which is how its end is told

    def _silence(self, node: Node) -> None:
        """Its watch was taken from it: look at it by the clock."""
        self._tree.mute(node)
        self._revisits.silence(node, time.monotonic(), self._loud_before.pop(node.name, None))
        name = self._name(node)
        if name in self._said or len(self._said) > _SAID_AT_MOST:
            return
        self._said.add(name)
        text = "%s: too many file events; polling it every second until it settles"
        if len(self._said) > _SAID_AT_MOST:
            text = "%s and others: too many file events; polling each until it settles"
        log.warning(text, name, extra=self._where(node))

    def _tell_calm(self, node: Node) -> None:
        name = self._name(node)
        if name in self._said and name not in {path.removesuffix(f"/{layout.META}") for path in self.loud()}:
            self._said.discard(name)
            log.info("%s: event rate back to normal", name, extra=self._where(node))

    def _look_at_silenced(self, node: Node, silence: Silence, now: float, top: int) -> None:
        workspace = _workspace_of(node)
        try:
            if silence.until <= now:
                self._tree.hear_again(node, top)
                self._revisits.hear_again(node, now)
                self._tree.look_again(workspace, top)
                return
            found = self._tree.sight(workspace, top) if workspace.kind is Kind.WORKSPACE else None
        except Missing:
            self._tree.leave(node, top)
            return
        if found is None:
            self._tree.look_again(workspace, top)
        elif found.signature != silence.signature:
            silence.signature = found.signature
            self._announce(found, False)

    def _name(self, node: Node) -> str:
        return _workspace_of(node).name or self._root.path

    def _where(self, node: Node) -> dict[str, str]:
        return {"root": self._root.key, "workspace": _workspace_of(node).name}


def _workspace_of(node: Node) -> Node:
    """The workspace of a `.meta`, the directory itself for any other."""
    return node.parent if node.kind is Kind.META and node.parent is not None else node
