"""The thread of one root: waits for the root, watches it by inotify or by looking again, says when it is lost."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from typing import Any, cast

from watchdog.observers.api import EventEmitter, ObservedWatch

from agentic_watch.config import Root
from agentic_watch.host.file_systems import MountTable, filesystem_without_events, mounts_below
from agentic_watch.watch.follower import Follower
from agentic_watch.watch.hints import Hint, Hints
from agentic_watch.watch.inbox import Inbox
from agentic_watch.watch.kernel_reader import KernelReader
from agentic_watch.watch.leaving import Leaving
from agentic_watch.watch.overflow import Overflow
from agentic_watch.watch.tree import Tree
from agentic_watch.watch.watches import Watches
from agentic_watch.workspace import files
from agentic_watch.workspace.layout import Candidate

log = logging.getLogger("agentic_watch.watch")

_CHECK_SECONDS = 5.0
_WAIT_SECONDS = 0.5
_LEAVING_SECONDS = 0.01
_WORTH_A_REST_SECONDS = 0.0002
_REST_FACTOR = 2.0
_LONGEST_REST_SECONDS = 1.0
_LATE = "the watches of workspaces committed long since are being placed"
_SHORT = "the watch limit is reached; the coldest workspaces are found by scanning"


class RootThread(EventEmitter):
    """Queues hints for one root. `watching` is waiting, scanning (its watches are being placed), inotify or poll;
    `detail` says why it is not inotify.

    The root is open only while it is looked into: a descriptor kept would keep it from being unmounted.
    """

    def __init__(self, hints: Hints, root: Root, reader: KernelReader | None, poll: tuple[float, str]) -> None:
        # watchdog's queue is only ever put to; ours takes hints instead of file events.
        super().__init__(cast("Any", hints), ObservedWatch(root.path, recursive=True), timeout=_CHECK_SECONDS)
        self.name = f"watch {root.key}"
        self.root = root
        self.watching = "waiting"
        self._poll_seconds, self._without = poll
        self.detail = self._without
        self._hints = hints
        self._reader = reader
        self._inbox = Inbox()
        self._leaving: Leaving | None = None
        if reader is not None:
            reader.listen(self._inbox)
            self._leaving = Leaving(reader, self._inbox)
        self._tree: Tree | None = None
        self._follower: Follower | None = None
        self._overflow = Overflow()
        self._identity: tuple[int, int] | None = None
        self._mount_table = MountTable()
        self._mounts: frozenset[tuple[str, str]] = frozenset()
        self._next_check = 0.0
        self._missed = False
        self._said_short = False
        self._is_scanned = False

    @property
    def watches(self) -> int:
        """How many inotify watches this root has."""
        tree = self._tree
        return tree.watches if tree is not None else 0

    def want(self, name: str) -> None:
        """A scan found the workspace `name` changed: it may lack its watches."""
        if self._tree is not None:
            self._inbox.want(name)

    def scanned(self) -> None:
        """The root was looked at as a whole: who waits for that gets its watches now."""
        self._is_scanned = True
        self._inbox.wake()

    def queue_events(self, timeout: float) -> None:
        """One turn: wait for the root, or for news of it, and pass them on."""
        if self._leaving:
            self._leaving.advance()
        if self._identity is None:
            if not self._begin():
                self.stopped_event.wait(_WAIT_SECONDS)
        elif self._tree is None or self._follower is None:
            self._poll()
        else:
            self._listen(self._tree, self._follower, timeout)

    def run(self) -> None:
        """Turn until stopped. The watches go with the inotify instance, which ends with all its roots."""
        try:
            super().run()
        finally:
            self._mount_table.close()

    def on_thread_stop(self) -> None:
        """Wake the thread so that it sees the stop."""
        self._inbox.wake()

    # --- coming and going

    def _begin(self) -> bool:
        """Open the root and start to watch it; False while it is not there."""
        try:
            top = files.open_root(self.root.path)
        except OSError as error:
            self._miss(error.strerror or "cannot be opened")
            return False
        read_only = False
        try:
            self._identity = _identity(top)
            read_only = bool(os.fstatvfs(top).f_flag & os.ST_RDONLY)
            self._choose(top)
        except OSError as error:
            self._fall_back(f"cannot be watched ({error.strerror})")
        finally:
            os.close(top)
        if self._missed:
            log.info("%s: available, watching (%s)", self.root.path, self.watching, extra=self._where)
            self._missed = False
        self._hints.put(Hint(self.root, None, self.watching, read_only=read_only))
        return True

    def _miss(self, why: str) -> None:
        if not self._missed:
            log.warning("%s: not available (%s); waiting", self.root.path, why, extra=self._where)
            self.detail = why
            self._hints.put(Hint(self.root, None, "waiting"))
        self._missed = True

    def _choose(self, top: int) -> None:
        """Watch by inotify when that is wanted and can work, else by polling."""
        if self.root.watch == "poll":
            self.watching, self.detail = "poll", "as configured"
            return
        silent = filesystem_without_events(top) if self.root.watch == "auto" else None
        if silent is not None:
            self._fall_back(f"lies on {silent}, which sends no events")
        elif self._reader is None or self._leaving is None:
            self.watching, self.detail = "poll", self._without  # which was said for all roots together
        else:
            self.watching, self.detail = "scanning", "its watches are being placed"
            self._plant(top, self._reader, self._leaving)

    def _plant(self, top: int, reader: KernelReader, leaving: Leaving) -> None:
        """Watch all there is; the watches that there were before go afterwards, or when they run short."""
        self._mounts = mounts_below(self.root.path)
        self._is_scanned = False
        before = self._tree
        if before is not None:
            leaving.reserve = before.uproot
        tree = Tree(self.root, Watches(reader, self._inbox, leaving), self._announce, self.stopped_event)
        try:
            tree.plant(top)
            while before is not None and not (tree.is_whole or tree.plant_late(top)):
                pass
        finally:
            leaving.reserve = None
        self._tree, self._follower = tree, Follower(self.root, tree, self._announce, self._follower)
        self._inbox.told = tree.told
        if before is not None:
            before.uproot()
        self.watching = "inotify"
        self._tell_what_lacks(tree)

    def _fall_back(self, why: str) -> None:
        self._uproot()
        self.watching, self.detail = "poll", why
        text = "%s: %s; polling every %.0f s"
        log.warning(text, self.root.path, why, self._poll_seconds, extra=self._where)

    def _lose(self) -> None:
        text = "%s: was removed, renamed or unmounted; waiting for it to come back"
        log.warning(text, self.root.path, extra=self._where)
        self._uproot()
        self._identity = None
        self.watching = "waiting"
        self.detail, self._missed = "was removed, renamed or unmounted", True
        self._hints.put(Hint(self.root, None, "lost"))

    def _uproot(self) -> None:
        if self._tree is not None:
            self._tree.uproot()
        self._tree = self._follower = None

    # --- at work

    def _announce(self, candidate: Candidate, told: bool) -> None:
        if told and self._reader is not None:
            self._reader.announced()
        self._hints.put(Hint(self.root, candidate, told=told))

    def _poll(self) -> None:
        if self.stopped_event.wait(self._poll_seconds):
            return
        with self._opened() as top:
            if top is not None:
                self._hints.put(Hint(self.root, None, "poll"))
            else:
                self._lose()

    def _listen(self, tree: Tree, follower: Follower, timeout: float) -> None:
        now = time.monotonic()
        patience = follower.patience(self._overflow.patience(0.0 if self._has_late(tree) else timeout, now))
        taken = self._inbox.take(_LEAVING_SECONDS if self._leaving else patience)
        if self.stopped_event.is_set():
            return
        began = time.monotonic()
        with self._opened() as top:
            if top is None or not follower.hear(taken.news, top):
                self._lose()
                return
            follower.revisit(top)
            for name in taken.wanted:
                tree.want(name, top)
            if taken.overflowed:
                self._overflow.lost()
            self._look_at_mounts(tree, top)
            if self._has_late(tree) and tree.plant_late(top):
                self._hints.put(Hint(self.root, None, "watched"))
            self._plant_anew_if_due(top)
        if self._tree is not None:
            self._tell_what_lacks(self._tree)
        self._rest(time.monotonic() - began)

    def _has_late(self, tree: Tree) -> bool:
        return self._is_scanned and not tree.is_whole

    def _plant_anew_if_due(self, top: int) -> None:
        """Events were lost, nobody knows which: watch all anew, then have the whole root looked at."""
        began = time.monotonic()
        if not self._overflow.is_due(began) or self._reader is None or self._leaving is None:
            return
        try:
            self._plant(top, self._reader, self._leaving)
        except OSError as error:
            self._fall_back(f"cannot be watched ({error.strerror})")
        self._overflow.mended(began, time.monotonic())
        self._hints.put(Hint(self.root, None, "overflow"))

    def _look_at_mounts(self, tree: Tree, top: int) -> None:
        """Something may be mounted over what is watched, of which the kernel sends no event."""
        if time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + _CHECK_SECONDS
        if not self._mount_table.has_changed():
            return
        before, self._mounts = self._mounts, mounts_below(self.root.path)
        for name in sorted({name for _, name in before ^ self._mounts}):
            tree.remounted(name, top)

    def _rest(self, worked: float) -> None:
        """Leave the processor to others: what one root is told must not cost the host more than a third of one."""
        if worked > _WORTH_A_REST_SECONDS and not self._leaving:
            self.stopped_event.wait(min(_REST_FACTOR * worked, _LONGEST_REST_SECONDS))

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

    @property
    def _where(self) -> dict[str, str]:
        return {"root": self.root.key}

    def _tell_what_lacks(self, tree: Tree) -> None:
        """Say who is not watched; and once that the kernel's watch limit is reached, and what would help."""
        self.detail = _SHORT if tree.short else "" if tree.is_whole else _LATE
        if not tree.short or self._said_short:
            return
        self._said_short = True
        log.warning(
            "%s: inotify watch limit reached at %d; the least active workspaces are scanned instead. "
            "Raise fs.inotify.max_user_watches (sysctl), then reload",
            self.root.path,
            tree.watches,
            extra=self._where,
        )


def _identity(directory: int) -> tuple[int, int]:
    info = os.fstat(directory)
    return info.st_dev, info.st_ino
