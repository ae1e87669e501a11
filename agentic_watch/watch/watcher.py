"""All roots together: one inotify instance, one thread a root."""

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
    """Watches the roots and puts hints; `start` it once, `stop` it once. `roots` are their threads by the roots' keys.

    `cookie` is a file outside of the roots by which inotify proves that it answers; "" does without. What cannot be
    watched is looked at every `poll_seconds`.
    """

    def __init__(self, roots: Sequence[Root], hints: HintQueue, cookie: str = "", *, poll_seconds: float = 5.0) -> None:
        self._roots = roots
        self._cookie_file = cookie
        self._poll_seconds = poll_seconds
        self._probe: LivenessProbe | None = None
        self._hints = hints
        self._reader: InotifyReader | None = None
        self.roots: dict[str, RootThread] = {}
        self._said_hanging: set[str] = set()

    def start(self) -> None:
        """Start the threads. Each root is announced with a hint as soon as its watches are in place.

        Raises RuntimeError when the host has no thread left.
        """
        detail = self._open_inotify() if any(root.watch != "poll" for root in self._roots) else ""
        for root in self._roots:
            self.roots[root.key] = RootThread(self._hints, root, self._reader, (self._poll_seconds, detail))
        for thread in self.roots.values():
            thread.start()

    def _open_inotify(self) -> str:
        """Open the one instance; gives why there is none when the kernel refuses."""
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
        """The true state of each root."""
        return tuple(thread.state() for thread in self.roots.values())

    def hanging(self) -> frozenset[str]:
        """The roots that have not answered for some seconds. What is new of them, and of inner mounts, is said."""
        hanging = {key: thread.mounts.hanging() for key, thread in self.roots.items()}
        paths = {
            os.path.join(self.roots[key].root.path, name).rstrip("/")
            for key, names in hanging.items()
            for name in names
        }
        for path in sorted(paths - self._said_hanging):
            log.warning("%s: does not answer; it is left alone until it does, and everything else goes on", path)
        for path in sorted(self._said_hanging - paths):
            log.info("%s: answers again", path)
        self._said_hanging = paths
        return frozenset(key for key, names in hanging.items() if "" in names)

    def overflows(self) -> int:
        """How often the kernel dropped events since the start."""
        return self._reader.overflows if self._reader is not None else 0

    def answers(self) -> bool:
        """Whether inotify answered the last question; without inotify the threads' lives (`dead`) are the answer."""
        return self._probe is None or self._probe.answered()

    def dead(self) -> str | None:
        """The name of a thread that ended by itself, None when all are well."""
        threads = [*self.roots.values(), *([self._reader] if self._reader is not None else [])]
        return next((thread.name for thread in threads if not thread.is_alive()), None)

    def stop(self) -> None:
        """End all threads and give up all watches. One that could not even be started has nothing to end, and one
        whose root hangs ends with the process."""
        end = time.monotonic() + _JOIN_SECONDS
        alive = [thread for thread in self.roots.values() if thread.is_alive()]
        for thread in alive:
            thread.stop()
        for thread in alive:
            thread.join(max(0.0, end - time.monotonic()) if not thread.mounts.is_left_alone() else 0.0)
        if self._reader is not None and self._reader.is_alive():
            self._reader.stop()
            self._reader.join(max(0.1, end - time.monotonic()))
