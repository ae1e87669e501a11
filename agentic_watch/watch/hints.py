"""What the watcher tells the loop: look here, and how each root is watched.

A hint may be wrong or come twice; the files are the truth.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue

from agentic_watch.config import Root
from agentic_watch.workspace.candidate import Candidate


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


@dataclass(frozen=True, slots=True)
class RootState:
    """How one root is watched. `root` is its key, `watching` inotify, poll, scanning, waiting (not there yet), hanging.

    `hanging` counts what does not answer: the root, or mounts below it.
    """

    root: str
    path: str
    watching: str
    watches: int
    detail: str = ""
    hanging: int = 0


Announce = Callable[[Candidate], None]
"""Takes a workspace: one that a look found, new or changed; or one that was throttled."""


class HintQueue:
    """From the watcher's threads to the loop. One hint waits for each workspace, however many events there were."""

    def __init__(self) -> None:
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
