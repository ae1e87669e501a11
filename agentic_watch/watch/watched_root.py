"""One root under inotify: handles directory changes and rechecks, and rebuilds all watches after lost events."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from agentic_watch.config import Root
from agentic_watch.watch.change_queues import (
    DirectoryChange,
    Hint,
    HintQueue,
    Kind,
    RootQueue,
    TakenChanges,
    WatchedDirectory,
)
from agentic_watch.watch.inotify_reader import InotifyReader
from agentic_watch.watch.rechecks import Rechecks
from agentic_watch.watch.tree import Tree
from agentic_watch.watch.watches import PendingRemovals, Watches
from agentic_watch.workspace import layout
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.workspace_errors import Malformed, Missing, WorkspaceError

log = logging.getLogger("agentic_watch.watch")

_REMOVING_SECONDS = 0.01
_REWATCH_SECONDS = 5.0
_REWATCH_SHARE = 10.0
"""Minimum pause between two rebuilds of all watches, at least ten times as long as the last one took: an agent that
keeps overflowing the queue must not keep the host scanning."""
_NAMED_AT_MOST = 3
"""Throttled workspaces that are named in the log at a time; further ones are mentioned once."""
_DEFERRED = "the watches of workspaces committed long since are being placed"
_SHORT = "the watch limit is reached; the least active workspaces are scanned"


class WatchedRoot:
    """Owned by its root's thread, except `want`, `scanned` and `wake`. `top` is always the open root.

    `may_enter` is called with a directory's path below the root before it is entered.
    """

    def __init__(self, root: Root, reader: InotifyReader, hints: HintQueue, may_enter: Callable[[str], bool]) -> None:
        self._root = root
        self._reader = reader
        self._hints = hints
        self._may_enter = may_enter
        self._queue = RootQueue(root, hints)
        self._removals = PendingRemovals(reader)
        self._rechecks = Rechecks()
        self._tree: Tree | None = None
        self._is_scanned = self._said_short = self._has_lost_events = False
        self._rewatch_from = 0.0
        self._named: set[str] = set()

    # --- called by other threads

    @property
    def watches(self) -> int:
        """Number of watches."""
        tree = self._tree
        return len(tree.watches.directories) if tree is not None else 0

    def want(self, name: str) -> None:
        """A scan found the workspace `name` changed, so its watches may be missing."""
        if self._tree is not None:
            self._queue.want(name)

    def scanned(self) -> None:
        """A whole scan of the root is complete: place the deferred watches now."""
        self._is_scanned = True
        self.wake()

    def wake(self) -> None:
        """Wake a waiting `take`."""
        self._queue.wake()

    # --- called by the root's thread

    def watch_all(self, top: int) -> None:
        """Watch everything; the previous watches are removed afterwards, or earlier when watches run short.

        Raises OSError when the root cannot be watched.
        """
        self._is_scanned = False
        before = self._tree
        if before is not None:
            self._removals.reserve = before.unwatch_all
        watches = Watches(self._reader, self._queue, self._removals)
        tree = Tree(self._root, watches, self._announce, self._may_enter, self._rechecks)
        try:
            tree.watch_all(top)
            while before is not None and not (tree.is_whole or tree.watch_deferred(top)):
                pass
        except OSError:
            tree.unwatch_all()
            raise
        finally:
            self._removals.reserve = None
        self._tree, self._queue.directories = tree, watches.directories
        if before is not None:
            before.unwatch_all()

    def unwatch_all(self) -> None:
        """Remove all watches."""
        if self._tree is not None:
            self._tree.unwatch_all()
        self._tree = None
        self._queue.directories = {}

    def close(self) -> None:
        """Forget all watches: they end with the inotify instance."""
        self.unwatch_all()
        self._removals.clear()

    def remove_some(self) -> bool:
        """Continue removing watches; returns whether some are left."""
        self._removals.advance()
        return bool(self._removals)

    def take(self, longest: float) -> TakenChanges:
        """Wait until there is work, at most `longest` seconds; returns the queued changes."""
        if self._removals:
            longest = min(longest, _REMOVING_SECONDS)
        elif self._has_deferred():
            longest = 0.0
        now = time.monotonic()
        if self._has_lost_events:
            longest = min(longest, max(0.0, self._rewatch_from - now))
        return self._queue.take(self._rechecks.until_next(longest, now))

    def follow(self, taken: TakenChanges, top: int) -> bool:
        """Handle the changes; False when the root itself is gone or renamed.

        Raises OSError when all watches have to be rebuilt and the root cannot be watched.
        """
        tree = self._tree
        assert tree is not None
        for wd, change in taken.changes.items():
            if (node := tree.watches.directories.get(wd)) is None:
                continue
            if node.kind is Kind.ROOT and (change.moved or (change.gone and not change.throttled)):
                return False
            try:
                self._follow(tree, node, change, top)
            except (Missing, Malformed, FileNotFoundError):
                continue
            except (WorkspaceError, OSError):
                self._rechecks.add(node.workspace.name, time.monotonic())
        self._recheck(tree, top)
        for name in taken.wanted:
            tree.ensure_watched(name, top)
        if self._has_deferred() and tree.watch_deferred(top):
            self._hints.put(Hint(self._root, None, "watched"))
        self._has_lost_events |= taken.overflowed
        if self._has_lost_events and time.monotonic() >= self._rewatch_from:
            self._watch_anew(top)
        return True

    def look_at(self, name: str, top: int) -> None:
        """The mount at the path `name` changed, or answers again."""
        if self._tree is not None:
            self._tree.remounted(name, top)

    def lack(self) -> str:
        """Which workspaces are not watched, "" when all are. A too low limit is logged once, with its remedy."""
        tree = self._tree
        if tree is None or not tree.watches.short:
            return "" if tree is None or tree.is_whole else _DEFERRED
        if not self._said_short:
            self._said_short = True
            log.warning(
                "%s: inotify watch limit reached at %d; the least active workspaces are scanned instead. "
                "Raise fs.inotify.max_user_watches (sysctl), then reload",
                self._root.path,
                len(tree.watches.directories),
                extra={"root": self._root.key},
            )
        return _SHORT

    def _watch_anew(self, top: int) -> None:
        """Unknown events were lost: rebuild all watches, then request a scan of the whole root."""
        began = time.monotonic()
        try:
            self.watch_all(top)
        finally:
            now = time.monotonic()
            self._has_lost_events = False
            self._rewatch_from = now + max(_REWATCH_SECONDS, _REWATCH_SHARE * (now - began))
            self._hints.put(Hint(self._root, None, "overflow"))

    def _has_deferred(self) -> bool:
        return self._is_scanned and self._tree is not None and not self._tree.is_whole

    def _announce(self, candidate: Candidate) -> None:
        self._hints.put(Hint(self._root, candidate))

    def _recheck(self, tree: Tree, top: int) -> None:
        """Examine the directories whose recheck is due."""
        now = time.monotonic()
        for path, one in self._rechecks.take(now).items():
            try:
                tree.recheck(path, one, top)
            except (Missing, Malformed, FileNotFoundError):
                continue
            except (WorkspaceError, OSError):
                self._rechecks.add(path, time.monotonic(), throttled=one.throttled, identity=one.identity)
        for path in self._rechecks.settled(now):
            if path in self._named:
                self._named.discard(path)
                log.info("%s: event rate back to normal", path or self._root.path, extra=self._where(path))

    def _follow(self, tree: Tree, node: WatchedDirectory, change: DirectoryChange, top: int) -> None:
        if change.throttled:
            self._throttle(tree, node, top)
            return
        if change.gone or (change.moved and not tree.is_in_place(node, top)):
            tree.leave(node, top)
            return
        workspace = node.workspace
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
        """Which directories to try again after a change of permissions ("" is the parent itself)."""
        refused = self._rechecks.below(node.name)
        found = refused if "" in opened else opened & refused
        if node.meta is None or node.kind is Kind.WORKSPACE:
            found |= opened & {layout.META}
        return found

    def _throttle(self, tree: Tree, node: WatchedDirectory, top: int) -> None:
        """A watch was removed because of too many events: schedule a recheck, which places it again."""
        path, identity = tree.throttle(node, top)
        self._rechecks.add(path, time.monotonic(), throttled=True, identity=identity)
        self._hints.put(Hint(self._root, Candidate(self._root, path), throttled=True))
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
    """Directories appeared: new levels or workspaces, or a `.meta` that makes this directory a workspace."""
    if node.kind is Kind.WORKSPACE and (names is None or layout.META in names):
        tree.look_again(node, top)
    elif node.kind in (Kind.ROOT, Kind.LEVEL):
        telling = names is None or not names.isdisjoint(layout.TELLING_DIRECTORIES)
        tree.look_again(node, top, None if telling else names)
