"""The thread of one root: waits for the root, watches it by inotify or by looking again, says when it is lost."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any, cast

from watchdog.observers.api import EventEmitter, ObservedWatch

from agentic_watch.config import Root
from agentic_watch.host.file_systems import filesystem_without_events
from agentic_watch.watch.hints import Hint, Hints
from agentic_watch.watch.inbox import Inbox
from agentic_watch.watch.nodes import Nodes
from agentic_watch.watch.reader import Reader
from agentic_watch.watch.tree import Tree
from agentic_watch.workspace import files
from agentic_watch.workspace.layout import Candidate

log = logging.getLogger("agentic_watch.watch")

POLL_SECONDS = 5.0
_CHECK_SECONDS = 5.0
_WAIT_SECONDS = 0.5


class RootEmitter(EventEmitter):
    """Queues hints for one root. `watching` is waiting, inotify or poll; `detail` says why it is not inotify.

    The root is open only while it is looked into: a descriptor kept would keep it from being unmounted.
    """

    def __init__(self, hints: Hints, root: Root, inotify: Reader | None, detail: str) -> None:
        # watchdog's queue is only ever put to; ours takes hints instead of file events.
        super().__init__(cast("Any", hints), ObservedWatch(root.path, recursive=True), timeout=_CHECK_SECONDS)
        self.name = f"watch {root.key}"
        self.root = root
        self.watching = "waiting"
        self.detail = detail
        self.overflows = 0
        self._hints = hints
        self._inotify = inotify
        self._without = detail
        self._inbox = Inbox()
        self._tree: Tree | None = None
        self._identity: tuple[int, int] | None = None
        self._missed = False

    @property
    def watches(self) -> int:
        """How many inotify watches this root has."""
        tree = self._tree
        return tree.watches if tree is not None else 0

    def want(self, name: str) -> None:
        """A scan found the workspace `name` changed: it may lack its watches."""
        if self._tree is not None:
            self._inbox.want(name)

    def queue_events(self, timeout: float) -> None:
        """One turn: wait for the root, or for news of it, and pass them on."""
        if self._identity is None:
            if not self._begin():
                self.stopped_event.wait(_WAIT_SECONDS)
        elif self._tree is None:
            self._poll()
        else:
            self._listen(self._tree, timeout)

    def run(self) -> None:
        """Turn until stopped; the watches end with the thread."""
        try:
            super().run()
        finally:
            self._let_go()

    def on_thread_stop(self) -> None:
        """Wake the thread so that it sees the stop."""
        self._inbox.wake()

    def _begin(self, reason: str = "") -> bool:
        """Open the root and start to watch it; False while it is not there."""
        read_only = False
        try:
            top = files.open_root(self.root.path)
        except OSError as error:
            self._miss(error.strerror or "cannot be opened")
            return False
        try:
            self._identity = _identity(top)
            read_only = bool(os.fstatvfs(top).f_flag & os.ST_RDONLY)
            self._plant(top)
        except OSError as error:
            self._fall_back(f"cannot be watched ({error.strerror})")
        finally:
            os.close(top)
        if self._missed:
            log.info("%s: is there, watching it (%s)", self.root.path, self.watching)
            self._missed = False
        self._hints.put(Hint(self.root, None, reason or self.watching, read_only))
        return True

    def _miss(self, why: str) -> None:
        if not self._missed:
            log.warning("%s: %s; waiting for it", self.root.path, why)
            self.detail = why
            self._hints.put(Hint(self.root, None, "waiting"))
        self._missed = True

    def _plant(self, top: int) -> None:
        """Watch by inotify when that is wanted and can work, else by polling."""
        if self.root.watch == "poll":
            self.watching, self.detail = "poll", "as configured"
            return
        silent = filesystem_without_events(top) if self.root.watch == "auto" else None
        if silent is not None:
            self._fall_back(f"lies on {silent}, which sends no events")
        elif self._inotify is None:
            self.watching, self.detail = "poll", self._without  # which was said for all roots together
        else:
            self._tree = Tree(self.root, Nodes(self._inotify, self._inbox), self._announce, self.stopped_event)
            self._tree.plant(top)
            self._inbox.told = self._tree.told
            self.watching, self.detail = "inotify", ""
            self._warn_of_limit(self._tree)

    def _fall_back(self, why: str) -> None:
        self._uproot()
        self.watching, self.detail = "poll", why
        log.warning("%s: %s; looking every %.0f s instead", self.root.path, why, POLL_SECONDS)

    def _announce(self, candidate: Candidate) -> None:
        if self._inotify is not None:
            self._inotify.announced()
        self._hints.put(Hint(self.root, candidate))

    def _poll(self) -> None:
        if self.stopped_event.wait(POLL_SECONDS):
            return
        with self._opened() as top:
            if top is not None:
                self._hints.put(Hint(self.root, None, "poll"))
            else:
                self._lose()

    def _listen(self, tree: Tree, timeout: float) -> None:
        overflowed, news, wanted = self._inbox.take(timeout)
        with self._opened() as top:
            if top is None or not tree.hear(news, top):
                self._lose()
                return
            if not overflowed:
                for name in wanted:
                    tree.want(name, top)
                self._warn_of_limit(tree)
        if overflowed:
            self._overflow()

    def _overflow(self) -> None:
        """Events were lost, nobody knows which: watch all anew, then have the whole root looked at."""
        self.overflows += 1
        log.warning("%s: the kernel dropped events (queue overflow); scanning the whole root", self.root.path)
        self._let_go()
        self._begin("overflow")

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int | None]:
        """The root, open; None when its path no longer leads to the directory that is watched."""
        try:
            top = files.open_root(self.root.path)
        except OSError:
            yield None
            return
        try:
            yield top if _identity(top) == self._identity else None
        finally:
            os.close(top)

    def _lose(self) -> None:
        log.warning("%s: was removed, renamed or unmounted; waiting for it to come back", self.root.path)
        self._let_go()
        self.detail, self._missed = "was removed, renamed or unmounted", True
        self._hints.put(Hint(self.root, None, "lost"))

    def _let_go(self) -> None:
        self._uproot()
        self._identity = None
        self.watching = "waiting"

    def _uproot(self) -> None:
        if self._tree is not None:
            self._tree.uproot()
            self._tree = None

    def _warn_of_limit(self, tree: Tree) -> None:
        """Say once that the kernel's watch limit is reached, and what would help."""
        if not tree.short or self.detail:
            return
        self.detail = "the watch limit is reached; the coldest workspaces are found by scanning"
        log.warning(
            "%s: no inotify watch left after %d; the coldest workspaces go without and are found by scanning. "
            "Raise fs.inotify.max_user_watches (sysctl), then reload",
            self.root.path,
            tree.watches,
        )


def _identity(directory: int) -> tuple[int, int]:
    info = os.fstat(directory)
    return info.st_dev, info.st_ino
