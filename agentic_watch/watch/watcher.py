"""Watches all roots: one inotify instance, one thread per root."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Sequence

from agentic_watch.config import Root
from agentic_watch.watch import RootState
from agentic_watch.watch.change_queues import NAMES, HintQueue
from agentic_watch.watch.inotify_reader import InotifyReader
from agentic_watch.watch.liveness_probe import LivenessProbe
from agentic_watch.watch.root_thread import RootThread

log = logging.getLogger("agentic_watch.watch")
_JOIN_SECONDS = 1.0


class Watcher:
    """Watches the roots and queues hints. Call `start` and `stop` once each. `roots` maps each root's key to its
    thread.

    `cookie` is a file outside the roots that the liveness probe touches; "" disables the probe. Roots that cannot be
    watched are scanned every `poll_seconds`. `former` is the watcher that a reload replaces.
    """

    def __init__(
        self,
        roots: Sequence[Root],
        hints: HintQueue,
        cookie: str = "",
        *,
        poll_seconds: float = 5.0,
        former: Watcher | None = None,
    ) -> None:
        self._roots = roots
        self._cookie_file = cookie
        self._poll_seconds = poll_seconds
        self._probe: LivenessProbe | None = None
        self._hints = hints
        self._reader: InotifyReader | None = None
        self.roots: dict[str, RootThread] = {}
        self._former = {thread.root.path: thread for thread in former.roots.values()} if former is not None else {}
        self.said_hanging: set[str] = former.said_hanging if former is not None else set()

    def start(self) -> None:
        """Start the threads. Each root is announced with a hint as soon as its watches are in place.

        Raises RuntimeError when the host has no thread left.
        """
        detail = self._open_inotify() if any(root.watch != "poll" for root in self._roots) else ""
        for root in self._roots:
            former, how = self._former.get(root.path), (self._poll_seconds, detail)
            self.roots[root.key] = RootThread(self._hints, root, self._reader, how, former)
        self._former = {}
        self.said_hanging &= self._hanging_paths()
        for thread in self.roots.values():
            thread.start()

    def _open_inotify(self) -> str:
        """Open the inotify instance; returns why there is none when the kernel refuses, else ""."""
        try:
            reader = InotifyReader({*NAMES, os.fsencode(os.path.basename(self._cookie_file))}, self._hints.is_idle)
        except OSError as error:
            what = "fs.inotify.max_user_instances (sysctl)" if error.errno == errno.EMFILE else "the limits"
            log.warning(
                "cannot create an inotify instance (%s); polling every %.0f s. Raise %s, then restart",
                error.strerror,
                self._poll_seconds,
                what,
            )
            return f"no inotify instance ({error.strerror})"
        reader.start()
        self._reader = reader
        if self._cookie_file:
            self._probe = LivenessProbe(reader, self._cookie_file)
        return ""

    def states(self) -> tuple[RootState, ...]:
        """The current state of each root."""
        return tuple(thread.state() for thread in self.roots.values())

    def hanging(self) -> frozenset[str]:
        """Keys of the roots that hang. Logs roots and inner mounts that begin to hang or answer again."""
        paths = self._hanging_paths()
        for path in sorted(paths - self.said_hanging):
            log.warning("%s: does not answer; skipped until it does, other roots and mounts continue", path)
        for path in sorted(self.said_hanging - paths):
            log.info("%s: answers again", path)
        self.said_hanging = paths
        return frozenset(key for key, thread in self.roots.items() if thread.root.path.rstrip("/") in paths)

    def _hanging_paths(self) -> set[str]:
        """Paths of the roots and inner mounts that hang."""
        roots = self.roots.values()
        return {
            os.path.join(thread.root.path, name).rstrip("/") for thread in roots for name in thread.mounts.hanging()
        }

    def overflows(self) -> int:
        """How often the kernel dropped events since the start."""
        return self._reader.overflows if self._reader is not None else 0

    def answers(self) -> bool:
        """Whether inotify answered the last probe; always true without inotify, where only `dead` is checked."""
        return self._probe is None or self._probe.answered()

    def dead(self) -> str | None:
        """Name of a thread that ended unexpectedly; None when all are alive."""
        threads = [*self.roots.values(), *([self._reader] if self._reader is not None else [])]
        return next((thread.name for thread in threads if not thread.is_alive()), None)

    def stop(self) -> None:
        """Stop all threads, which removes all watches. Threads that never started are skipped; one whose root hangs
        ends with the process."""
        end = time.monotonic() + _JOIN_SECONDS
        alive = [thread for thread in self.roots.values() if thread.is_alive()]
        for thread in alive:
            thread.stop()
        for thread in alive:
            thread.join(max(0.0, end - time.monotonic()) if not thread.mounts.is_left_alone() else 0.0)
        if self._reader is not None and self._reader.is_alive():
            self._reader.stop()
            self._reader.join(max(0.1, end - time.monotonic()))
