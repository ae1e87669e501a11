"""Was something committed? The kernel tells when the history's log is written; SQLite tells whether it is committed.

A commit is visible some time after the last write to the log (it is synced first, and then told through shared memory,
of which the kernel says nothing): so for a while after a write it is asked again and again, and rarely when nothing was
written.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from agentic_watch.fleet.follow import HistoryWatch
from agentic_watch.watch.few_watches import Add, FewWatches

KEY = "the history"
"""Its key in FewWatches."""

_AGAIN = ((0.5, 0.005), (2.0, 0.02), (10.0, 0.1))
"""(Until so many seconds after the last write, seconds between two questions.)"""
_REST_SECONDS = 5.0
_WITHOUT_EVENTS_SECONDS = 0.05
_AWAY_SECONDS = 0.5


class HistoryChanges:
    """Tells of commits to the history at this path, whoever replaces, removes or makes it. Used from one thread;
    `close` it. `watches` is None where the kernel gives none."""

    def __init__(self, history: str, watches: FewWatches | None) -> None:
        self._history = history
        self._watches = watches
        self._watch = HistoryWatch(history)
        self._written_at = time.monotonic()
        self._is_watched = False
        self.written()

    def written(self) -> None:
        """The kernel told of a write, or of another file at the path."""
        self._written_at = time.monotonic()
        self._is_watched = self._watches is not None and self._renew(self._watches)

    def until_next(self) -> float:
        """In how many seconds it is to be asked again, if the kernel tells nothing before."""
        if not self._is_watched:
            return _WITHOUT_EVENTS_SECONDS if os.path.isdir(os.path.dirname(self._history)) else _AWAY_SECONDS
        since = time.monotonic() - self._written_at
        return next((pause for until, pause in _AGAIN if since < until), _REST_SECONDS)

    def happened(self) -> bool:
        """Whether something was committed since the last call; also true at the first, and whenever it cannot be
        told."""
        if not self._is_watched:  # its directory was not there
            self.written()
        return self._watch.changed()

    def close(self) -> None:
        """Close the history."""
        self._watch.close()

    def _renew(self, watches: FewWatches) -> bool:
        """Watch the directories in which the file, and what it is a link to, lie."""
        paths = {self._history, os.path.realpath(self._history)}
        with watches.renewing(KEY, writes=True) as add:
            return sum(_add_directory(add, path) for path in paths) == len(paths)


def _add_directory(add: Add, path: str) -> bool:
    directory, base = os.path.split(path)
    with _opened(directory) as descriptor:
        return descriptor >= 0 and add(descriptor, [base, f"{base}-wal"])


@contextlib.contextmanager
def _opened(directory: str) -> Iterator[int]:
    """The open directory; -1 when it is not there."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield -1
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
