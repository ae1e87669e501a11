"""One root under inotify: its watches, what the kernel says of them, and what has to be watched anew."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from agentic_watch.config import Root
from agentic_watch.watch.change_queues import RootQueue, TakenChanges
from agentic_watch.watch.follower import Follower
from agentic_watch.watch.hints import Hint, HintQueue
from agentic_watch.watch.inotify_reader import InotifyReader
from agentic_watch.watch.rechecks import Rechecks
from agentic_watch.watch.rewatch_delay import RewatchDelay
from agentic_watch.watch.tree import Tree
from agentic_watch.watch.watches import PendingRemovals, Watches
from agentic_watch.workspace.candidate import Candidate

log = logging.getLogger("agentic_watch.watch")

_REMOVING_SECONDS = 0.01
_DEFERRED = "the watches of workspaces committed long since are being placed"
_SHORT = "the watch limit is reached; the coldest workspaces are found by scanning"


class WatchedRoot:
    """Owned by its root's thread, but for `want`, `scanned` and `wake`. `top` is always the root, open.

    `may_enter` is asked before each directory is looked into, by its path below the root.
    """

    def __init__(self, root: Root, reader: InotifyReader, hints: HintQueue, may_enter: Callable[[str], bool]) -> None:
        self._root = root
        self._reader = reader
        self._hints = hints
        self._may_enter = may_enter
        self._queue = RootQueue(root, hints)
        self._removals = PendingRemovals(reader, self._queue)
        self._rechecks = Rechecks()
        self._follower = Follower(root, self._rechecks, self._announce_throttled)
        self._rewatch = RewatchDelay()
        self._tree: Tree | None = None
        self._is_scanned = self._said_short = False

    # --- for others

    @property
    def watches(self) -> int:
        """How many it has now."""
        tree = self._tree
        return tree.watches if tree is not None else 0

    def want(self, name: str) -> None:
        """A scan found the workspace `name` changed: it may lack its watches."""
        if self._tree is not None:
            self._queue.want(name)

    def scanned(self) -> None:
        """The root was looked at as a whole: who waits for that gets its watches now."""
        self._is_scanned = True
        self.wake()

    def wake(self) -> None:
        """End a `take` that waits."""
        self._queue.wake()

    # --- for the root's thread

    def watch_all(self, top: int) -> None:
        """Watch all there is; the watches that there were before go afterwards, or when they run short.

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
        finally:
            self._removals.reserve = None
        self._tree, self._queue.directories = tree, tree.directories
        if before is not None:
            before.unwatch_all()

    def unwatch_all(self) -> None:
        """Give up all watches."""
        if self._tree is not None:
            self._tree.unwatch_all()
        self._tree = None
        self._queue.directories = {}

    def remove_some(self) -> bool:
        """Go on with removing watches; whether there are more to be removed."""
        self._removals.advance()
        return bool(self._removals)

    def take(self, longest: float) -> TakenChanges:
        """Wait until something is to be done, at most so long; gives what the kernel said."""
        if self._removals:
            longest = min(longest, _REMOVING_SECONDS)
        elif self._has_deferred():
            longest = 0.0
        longest = self._rewatch.until_due(longest, time.monotonic())
        return self._queue.take(self._follower.until_next(longest))

    def follow(self, taken: TakenChanges, top: int) -> bool:
        """Do what is to be done; False when the root itself is gone or renamed.

        Raises OSError when all has to be watched anew, and the root cannot be.
        """
        tree = self._tree
        assert tree is not None
        if not self._follower.follow(tree, taken.changes, top):
            return False
        self._follower.recheck(tree, top)
        for name in taken.wanted:
            tree.ensure_watched(name, top)
        if self._has_deferred() and tree.watch_deferred(top):
            self._hints.put(Hint(self._root, None, "watched"))
        if taken.overflowed:
            self._rewatch.lost()
        if self._rewatch.is_due(time.monotonic()):
            self._watch_anew(top)
        return True

    def look_at(self, name: str, top: int) -> None:
        """Something else is mounted at the path `name` than before, or answers again."""
        if self._tree is not None:
            self._tree.remounted(name, top)

    def lack(self) -> str:
        """Which workspaces are not watched, "" when all are. The remedy for too low a limit is said once."""
        tree = self._tree
        if tree is None or not tree.short:
            return "" if tree is None or tree.is_whole else _DEFERRED
        if not self._said_short:
            self._said_short = True
            log.warning(
                "%s: inotify watch limit reached at %d; the least active workspaces are scanned instead. "
                "Raise fs.inotify.max_user_watches (sysctl), then reload",
                self._root.path,
                tree.watches,
                extra={"root": self._root.key},
            )
        return _SHORT

    def _watch_anew(self, top: int) -> None:
        """Events were lost, nobody knows which: watch all anew, then have the whole root looked at."""
        began = time.monotonic()
        try:
            self.watch_all(top)
        finally:
            self._rewatch.rewatched(began, time.monotonic())
            self._hints.put(Hint(self._root, None, "overflow"))

    def _has_deferred(self) -> bool:
        return self._is_scanned and self._tree is not None and not self._tree.is_whole

    def _announce(self, candidate: Candidate) -> None:
        self._hints.put(Hint(self._root, candidate))

    def _announce_throttled(self, candidate: Candidate) -> None:
        self._hints.put(Hint(self._root, candidate, throttled=True))
