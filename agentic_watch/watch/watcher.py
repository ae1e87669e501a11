"""All roots together: one inotify instance, one emitter a root."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Sequence

from agentic_watch.config import Root
from agentic_watch.watch.cookie import Cookie
from agentic_watch.watch.emitter import POLL_SECONDS, RootEmitter
from agentic_watch.watch.hints import Hints
from agentic_watch.watch.inbox import NAMES
from agentic_watch.watch.reader import Reader
from agentic_watch.watch.root_state import RootState
from agentic_watch.workspace.layout import Candidate

log = logging.getLogger("agentic_watch.watch")
_JOIN_SECONDS = 1.0


class Watcher:
    """Watches the roots and puts hints; `start` it once, `stop` it once.

    `cookie` is a file outside of the roots by which inotify proves that it answers; "" does without.
    """

    def __init__(self, roots: Sequence[Root], hints: Hints, cookie: str = "") -> None:
        self._roots = roots
        self._cookie_file = cookie
        self._cookie: Cookie | None = None
        self._hints = hints
        self._inotify: Reader | None = None
        self._emitters: dict[str, RootEmitter] = {}

    def start(self) -> None:
        """Start the threads. Each root is announced with a hint as soon as its watches are in place."""
        detail = self._open_inotify() if any(root.watch != "poll" for root in self._roots) else ""
        for root in self._roots:
            self._emitters[root.key] = RootEmitter(self._hints, root, self._inotify, detail)
        for emitter in self._emitters.values():
            emitter.start()

    def _open_inotify(self) -> str:
        """Open the one instance; gives why there is none when the kernel refuses."""
        try:
            self._inotify = Reader({*NAMES, os.fsencode(os.path.basename(self._cookie_file))})
        except OSError as error:
            what = "fs.inotify.max_user_instances (sysctl)" if error.errno == errno.EMFILE else "the limits"
            log.warning(
                "no inotify instance to be had (%s); looking every %.0f s instead. Raise %s, then restart",
                error.strerror,
                POLL_SECONDS,
                what,
            )
            return f"no inotify instance ({error.strerror})"
        self._inotify.name = "inotify"
        self._inotify.start()
        if self._cookie_file:
            self._cookie = Cookie(self._inotify, self._cookie_file)
        return ""

    def states(self) -> tuple[RootState, ...]:
        """The true state of each root."""
        return tuple(RootState(key, e.root.path, e.watching, e.watches, e.detail) for key, e in self._emitters.items())

    def overflows(self) -> int:
        """How often the kernel dropped events since the start."""
        return sum(emitter.overflows for emitter in self._emitters.values())

    def missed(self, candidate: Candidate) -> None:
        """A scan found what no event told: the workspace may lack its watches."""
        self._emitters[candidate.root.key].want(candidate.name)

    def read_on(self) -> None:
        """The reader of hints has done what there was to do (reader.py)."""
        if self._inotify is not None:
            self._inotify.read_on()

    def answers(self) -> bool:
        """Whether inotify answered the last question; without inotify the threads' lives (`dead`) are the answer."""
        return self._cookie is None or self._cookie.answered()

    def dead(self) -> str | None:
        """The name of a thread that ended by itself, None when all are well."""
        threads = [*self._emitters.values(), *([self._inotify] if self._inotify is not None else [])]
        return next((thread.name for thread in threads if not thread.is_alive()), None)

    def stop(self) -> None:
        """End all threads and give up all watches."""
        end = time.monotonic() + _JOIN_SECONDS
        for emitter in self._emitters.values():
            emitter.stop()
        for emitter in self._emitters.values():
            emitter.join(max(0.0, end - time.monotonic()))
        if self._inotify is not None:
            self._inotify.stop()
            self._inotify.join(max(0.1, end - time.monotonic()))
