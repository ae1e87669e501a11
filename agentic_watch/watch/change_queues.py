"""Queues of unhandled changes: hints for the main loop, and directory changes for the root's own thread.

However many events there were, a workspace has at most one hint and a directory at most one change, so a busy agent
does not make the queues grow. A hint may be wrong or arrive twice; only the files count.
"""

from __future__ import annotations

import sys
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
_MARKER = layout.MARKER.encode()
_WRITTEN = (
    InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_ATTRIB  # it may have become readable
)
_TELLING = {
    _STATUS: _WRITTEN,
    layout.REPORT.encode(): _WRITTEN,
    # Not renamed as ours are: of a copied workspace. It tells that the status, which may come first, is committed.
    _MARKER: InotifyConstants.IN_CLOSE_WRITE,
}
NAMES = frozenset(_TELLING)
"""Names of plain files in watched directories whose events matter."""
_TAKEN_AWAY = InotifyConstants.IN_DELETE | InotifyConstants.IN_MOVED_FROM
_APPEARED = InotifyConstants.IN_CREATE | InotifyConstants.IN_MOVED_TO
_OF_ITSELF = (
    (InotifyConstants.IN_MOVE_SELF, "moved"),
    (InotifyConstants.IN_IGNORED, "gone"),
    (THROTTLED, "throttled"),
)
"""Event masks about a watched directory itself, and the field of DirectoryChange that each sets."""
_NAMES_AT_MOST = 64
_WANTED_AT_MOST = 1024
UNCOMMITTED = 1e9
"""Added to the heat (seconds) of an uncommitted workspace, so that committed ones lose their watches first."""

_CHILDLESS: Mapping[str, WatchedDirectory] = MappingProxyType({})
"""Shared by all watches without children: 200,000 empty dictionaries would take 12 MiB."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Examine one workspace (`candidate`), or scan the whole root (None) because of `reason`.

    `from_event` says that an event of this workspace caused it, and not a scan; `throttled` says that the workspace had
    too many events, and does not ask for a look. `read_only` says that the root's file system is mounted read-only for
    this process.
    """

    root: Root
    candidate: Candidate | None = None
    reason: str = ""
    from_event: bool = False
    throttled: bool = False
    read_only: bool = False


Announce = Callable[[Candidate], None]
"""Called with each workspace that is new, changed or throttled."""


class HintQueue:
    """From the watcher's threads to the main loop. At most one hint waits for each workspace.

    `is_idle` is set while the loop has no event to handle; then events are read as they arrive (inotify_reader.py).
    """

    def __init__(self) -> None:
        self.is_idle = threading.Event()
        self.is_idle.set()
        self._lock = threading.Lock()
        # Only wakes the loop. A signal handler may call `wake`, so it must not take a lock that the interrupted thread
        # may hold.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._workspaces: dict[tuple[str, str], Hint] = {}  # (root's path, name)
        self._roots: list[Hint] = []

    def put(self, hint: Hint) -> None:
        """Queue a hint, merged with the one that already waits for the same workspace."""
        with self._lock:
            was_empty = not self._workspaces and not self._roots
            if hint.candidate is None:
                self._roots.append(hint)
            else:
                key = hint.root.path, hint.candidate.name
                before = self._workspaces.get(key)
                if before is not None:
                    # A look merged with a throttling notice remains a look.
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
        """Wake a waiting `take`. Reentrant."""
        self._bell.put(None)

    @property
    def is_empty(self) -> bool:
        """Whether no hint waits."""
        return not self._workspaces and not self._roots

    def take(self, seconds: float) -> list[Hint]:
        """Wait for hints, at most `seconds`, and return all that are queued, those of whole roots first."""
        with suppress(Empty):
            self._bell.get(timeout=seconds)
            while True:
                self._bell.get_nowait()
        with self._lock:
            taken = [*self._roots, *self._workspaces.values()]
            self._roots, self._workspaces = [], {}
        return taken


class Kind(IntEnum):
    """The role of a watched directory."""

    ROOT = 0
    LEVEL = 1
    WORKSPACE = 2
    META = 3


@dataclass(slots=True, eq=False)
class WatchedDirectory:
    """One watch. `heat` is the time of its workspace's last activity (seconds); the lowest is evicted first."""

    wd: WatchDescriptor
    parent: WatchedDirectory | None
    base: str
    kind: Kind
    heat: float = 0.0
    meta: WatchedDirectory | None = None
    children: Mapping[str, WatchedDirectory] = field(default_factory=lambda: _CHILDLESS)

    @property
    def name(self) -> str:
        """Path relative to the root; "" for the root."""
        parts = []
        node: WatchedDirectory = self
        while node.parent is not None:
            parts.append(node.base)
            node = node.parent
        return "/".join(reversed(parts))

    @property
    def workspace(self) -> WatchedDirectory:
        """The workspace that a `.meta` belongs to; any other directory is returned itself."""
        return self.parent if self.kind is Kind.META and self.parent is not None else self

    def holds(self, other: WatchedDirectory) -> bool:
        """Whether `other` is this directory or lies below it."""
        above: WatchedDirectory | None = other
        while above is not None and above is not self:
            above = above.parent
        return above is self

    def cut_loose(self) -> None:
        """Drop all references to directories below, so that no cycle has to wait for the garbage collector."""
        self.meta, self.children = None, _CHILDLESS

    def path_of(self, base: str) -> str:
        """Path, relative to the root, of the directory `base` in this one."""
        return f"{self.name}/{base}" if self.parent is not None else base


@dataclass(slots=True)
class DirectoryChange:
    """What happened to one watched directory: its status or report was written (`changed`), its status was removed, it
    was renamed (`moved`) or is gone, its watch was removed because it had too many events (`throttled`), directories
    appeared in it (`names`; None when there are too many to list), or permissions changed (`opened`: names of its
    subdirectories, "" for itself)."""

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
        """A directory's permissions changed. Names over the limit are found by a later recheck."""
        if len(self.opened) < _NAMES_AT_MOST:
            self.opened.add(name)


@dataclass(slots=True)
class TakenChanges:
    """Contents of the queue: `overflowed` says that the kernel lost events; `wanted` are names of workspaces to
    watch."""

    overflowed: bool
    changes: dict[WatchDescriptor, DirectoryChange]
    wanted: set[str]


class RootQueue:
    """Filled by the thread that reads events, drained by one root's thread. `directories` are the watched ones."""

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
        """Handle one event: queue a hint if a known workspace's status or report was written, or a marker copied to it,
        else a directory change for the root's thread. Only looks up and queues: anything slow would lose events."""
        if mask & InotifyConstants.IN_ISDIR and mask & (_APPEARED | InotifyConstants.IN_ATTRIB):
            with self._lock:
                change = self._of(wd)
                (change.add_name if mask & _APPEARED else change.add_opened)(name.decode("utf-8", "surrogateescape"))
        elif mask & _TELLING.get(name, 0):
            if (workspace := self._workspace(wd)) is not None:
                workspace.heat = time.time() + UNCOMMITTED
                place = sys.intern(workspace.name)  # a storm leaves several entries for it in the queues
                self._hints.put(Hint(self._root, Candidate(self._root, place), from_event=True))
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
        """A scan found the workspace `name` changed: ask for its watches to be placed."""
        with self._lock:
            if len(self._wanted) < _WANTED_AT_MOST:
                self._wanted.add(name)
        self._filled.set()

    def wake(self) -> None:
        """Wake a waiting `take`."""
        self._filled.set()

    def take(self, seconds: float) -> TakenChanges:
        """Wait for changes, at most `seconds`, and return all that are queued."""
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
        """The known workspace that has this directory, as itself or as its `.meta`."""
        node = self.directories.get(wd)
        if node is not None and node.kind is Kind.META:
            node = node.parent
        return node if node is not None and node.kind is Kind.WORKSPACE else None
