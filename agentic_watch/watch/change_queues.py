"""What the kernel said and nobody has looked at yet: a hint for the loop, or one change a directory for its root.

One entry each, however many events there were, so that an agent that changes a directory all day makes nothing grow.
A hint may be wrong or come twice; the files are the truth.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import IntEnum
from queue import Empty, SimpleQueue
from types import MappingProxyType

from watchdog.observers.inotify_c import InotifyConstants, WatchDescriptor

from agentic_watch.config import Root
from agentic_watch.watch.inotify_reader import THROTTLED
from agentic_watch.workspace import layout
from agentic_watch.workspace.candidate import Candidate

_STATUS = layout.STATUS.encode()
_TELLING = frozenset({_STATUS, layout.REPORT.encode()})
_MARKER = layout.MARKER.encode()
NAMES = _TELLING | {_MARKER}
"""Of the plain files in watched directories, those whose events are news."""
_WRITTEN = (
    InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_ATTRIB  # it may have become readable
)
_TAKEN_AWAY = InotifyConstants.IN_DELETE | InotifyConstants.IN_MOVED_FROM
_APPEARED = InotifyConstants.IN_CREATE | InotifyConstants.IN_MOVED_TO
_OF_ITSELF = (
    (InotifyConstants.IN_MOVE_SELF, "moved"),
    (InotifyConstants.IN_IGNORED, "gone"),
    (THROTTLED, "throttled"),
)
"""What can happen to a watched directory itself, and the change that it is."""
_NAMES_AT_MOST = 64
_WANTED_AT_MOST = 1024
UNCOMMITTED = 1e9
"""Seconds by which an uncommitted workspace counts as warmer than any committed one."""

_CHILDLESS: Mapping[str, WatchedDirectory] = MappingProxyType({})
"""One for all: an empty dictionary for each of 200,000 watches would be 12 MiB."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Look at one workspace (`candidate`), or at the whole root (None) because of `reason`.

    `from_event` says that an event of the workspace itself brought it, not a look at many; `throttled` that it has had
    too many of them, and is no look by itself.
    `read_only` tells of a root whose file system this process may not write to, whoever it is.
    """

    root: Root
    candidate: Candidate | None = None
    reason: str = ""
    from_event: bool = False
    throttled: bool = False
    read_only: bool = False


Announce = Callable[[Candidate], None]
"""Takes a workspace: one that a look found, new or changed; or one that was throttled."""


class HintQueue:
    """From the watcher's threads to the loop. One hint waits for each workspace, however many events there were.

    `is_idle` is set while the loop has nothing to do that an event told of; then events are read as they come
    (inotify_reader.py).
    """

    def __init__(self) -> None:
        self.is_idle = threading.Event()
        self.is_idle.set()
        self._lock = threading.Lock()
        # Only the bell: a signal handler may ring it, which may take no lock that the thread it interrupts may hold.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._workspaces: dict[tuple[str, str], Hint] = {}  # (root's path, name)
        self._roots: list[Hint] = []

    def put(self, hint: Hint) -> None:
        """Leave a hint; it becomes one with what waits for the same workspace."""
        with self._lock:
            was_empty = not self._workspaces and not self._roots
            if hint.candidate is None:
                self._roots.append(hint)
            else:
                key = hint.root.path, hint.candidate.name
                before = self._workspaces.get(key)
                if before is not None:
                    # Of a look and a word that it was throttled there is a look left.
                    is_look = hint.throttled != before.throttled
                    from_event = hint.from_event or before.from_event or is_look
                    throttled = hint.throttled or before.throttled
                    hint = replace(hint, from_event=from_event, throttled=throttled)
                self._workspaces[key] = hint
                if hint.from_event:
                    self.is_idle.clear()
        if was_empty:
            self._bell.put(None)

    def wake(self) -> None:
        """End a `take` that waits. Reentrant."""
        self._bell.put(None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._workspaces and not self._roots

    def take(self, seconds: float) -> list[Hint]:
        """Wait for hints, at most `seconds`, and take all that are there then: those of whole roots first."""
        with suppress(Empty):
            self._bell.get(timeout=seconds)
            while True:
                self._bell.get_nowait()
        with self._lock:
            taken = [*self._roots, *self._workspaces.values()]
            self._roots, self._workspaces = [], {}
        return taken


class Kind(IntEnum):
    """What a watched directory is."""

    ROOT = 0
    LEVEL = 1
    WORKSPACE = 2
    META = 3


@dataclass(slots=True, eq=False)
class WatchedDirectory:
    """One watch. `heat` is when its workspace was last of interest (seconds), the least gives its watch up first."""

    wd: WatchDescriptor
    parent: WatchedDirectory | None
    base: str
    kind: Kind
    heat: float = 0.0
    meta: WatchedDirectory | None = None
    children: Mapping[str, WatchedDirectory] = field(default_factory=lambda: _CHILDLESS)

    @property
    def name(self) -> str:
        """The path below the root, "" for the root."""
        parts = []
        node: WatchedDirectory = self
        while node.parent is not None:
            parts.append(node.base)
            node = node.parent
        return "/".join(reversed(parts))

    @property
    def workspace(self) -> WatchedDirectory:
        """The workspace of a `.meta`, the directory itself for any other."""
        return self.parent if self.kind is Kind.META and self.parent is not None else self

    def holds(self, other: WatchedDirectory) -> bool:
        """Whether `other` is this directory or lies below it."""
        above: WatchedDirectory | None = other
        while above is not None and above is not self:
            above = above.parent
        return above is self

    def cut_loose(self) -> None:
        """Know nothing below any more: two that know each other wait for a collection of cycles, which is rare."""
        self.meta, self.children = None, _CHILDLESS

    def path_of(self, base: str) -> str:
        """The path below the root of a directory in this one."""
        return f"{self.name}/{base}" if self.parent is not None else base


@dataclass(slots=True)
class DirectoryChange:
    """What happened to one watched directory: its status or report was written, its status was taken away, directories
    appeared in it (`names`; None when too many to name) or had their permissions changed (`opened`, "" for itself), it
    was renamed, it is gone, its watch was taken away since it had too many events."""

    changed: bool = False
    status_removed: bool = False
    moved: bool = False
    gone: bool = False
    throttled: bool = False
    names: set[str] | None = field(default_factory=set)
    opened: set[str] = field(default_factory=set)

    def add_name(self, name: str) -> None:
        """A directory appeared."""
        if self.names is not None:
            self.names.add(name)
            if len(self.names) > _NAMES_AT_MOST:
                self.names = None

    def add_opened(self, name: str) -> None:
        """A directory's permissions changed. What is too much to name is found by trying again."""
        if len(self.opened) < _NAMES_AT_MOST:
            self.opened.add(name)


@dataclass(slots=True)
class TakenChanges:
    """What was in the queue: `overflowed` when the kernel lost events, `wanted` are names of workspaces."""

    overflowed: bool
    changes: dict[WatchDescriptor, DirectoryChange]
    wanted: set[str]


class RootQueue:
    """Fed by the thread that reads events, emptied by one root's. `directories` are those that are watched now."""

    def __init__(self, root: Root, hints: HintQueue) -> None:
        self.directories: Mapping[WatchDescriptor, WatchedDirectory | None] = {}
        self._root = root
        self._hints = hints
        self._lock = threading.Lock()
        self._filled = threading.Event()
        self._changes: dict[WatchDescriptor, DirectoryChange] = {}
        self._wanted: set[str] = set()
        self._overflowed = False

    def route(self, wd: WatchDescriptor, mask: int, name: bytes) -> None:
        """One event: a hint when a known workspace's status or report was written, else a change of a directory for
        the root's thread. Looks up and files only: anything slow would lose events."""
        if mask & InotifyConstants.IN_ISDIR and mask & (_APPEARED | InotifyConstants.IN_ATTRIB):
            with self._lock:
                change = self._of(wd)
                (change.add_name if mask & _APPEARED else change.add_opened)(name.decode("utf-8", "surrogateescape"))
        elif name in _TELLING and mask & _WRITTEN:
            if (workspace := self._workspace(wd)) is not None:
                workspace.heat = time.time() + UNCOMMITTED
                self._hints.put(Hint(self._root, Candidate(self._root, workspace.name), from_event=True))
                return
            self._file(wd, "changed")
        elif name == _STATUS and mask & _TAKEN_AWAY:
            self._file(wd, "status_removed")
        elif name == _MARKER and mask & InotifyConstants.IN_MOVED_TO:
            if (workspace := self._workspace(wd)) is not None:
                workspace.heat = time.time()
            return
        elif mask & InotifyConstants.IN_Q_OVERFLOW:
            with self._lock:
                self._overflowed = True
        elif what := next((what for bit, what in _OF_ITSELF if mask & bit), ""):
            self._file(wd, what)
        else:
            return
        self._filled.set()

    def want(self, name: str) -> None:
        """Somebody else found the workspace `name` changed: it should have a watch."""
        with self._lock:
            if len(self._wanted) < _WANTED_AT_MOST:
                self._wanted.add(name)
        self._filled.set()

    def wake(self) -> None:
        """End a `take` that waits."""
        self._filled.set()

    def take(self, seconds: float) -> TakenChanges:
        """Wait for changes, at most `seconds`, and take all there are."""
        self._filled.wait(seconds)
        self._filled.clear()
        with self._lock:
            taken = TakenChanges(self._overflowed, self._changes, self._wanted)
            self._overflowed, self._changes, self._wanted = False, {}, set()
        return taken

    def _file(self, wd: WatchDescriptor, what: str) -> None:
        with self._lock:
            setattr(self._of(wd), what, True)

    def _of(self, wd: WatchDescriptor) -> DirectoryChange:
        change = self._changes.get(wd)
        if change is None:
            change = self._changes[wd] = DirectoryChange()
        return change

    def _workspace(self, wd: WatchDescriptor) -> WatchedDirectory | None:
        """The known workspace that this directory is, or the `.meta` of."""
        node = self.directories.get(wd)
        if node is not None and node.kind is Kind.META:
            node = node.parent
        return node if node is not None and node.kind is Kind.WORKSPACE else None
