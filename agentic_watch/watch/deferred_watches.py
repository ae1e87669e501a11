"""Which workspaces get their watches only after the daemon is ready: of very many, those committed long since.

To place two watches for each of 100,000 takes longer than all else that a start does. Until they are placed a scan
stands for them: the one that each start makes, and another one afterwards, so that nothing falls between.
"""

from __future__ import annotations

import os
from operator import itemgetter

from agentic_watch.watch.change_queues import WatchedDirectory
from agentic_watch.workspace import layout

_AT_ONCE = 1_000
"""So many need not wait: their watches take less than a tenth of a second."""
_AT_A_TIME = 64


class DeferredWatches:
    """Owned by one root's thread. What changed last is the first to be taken: it is likelier to change again."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, WatchedDirectory, str]] = []
        self._is_sorted = True
        self._spared = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def defer(self, node: WatchedDirectory, directory: int, base: str) -> bool:
        """Whether the directory `base` of `node`, which is open, may wait; then it is remembered."""
        committed_at = _committed_at(directory, base)
        if committed_at is None:
            return False
        if self._spared < _AT_ONCE:
            self._spared += 1
            return False
        self._waiting.append((committed_at, node, base))
        self._is_sorted = False
        return True

    def take(self) -> dict[WatchedDirectory, list[str]]:
        """Some of them, by the directory in which they lie; there must be some."""
        if not self._is_sorted:
            self._waiting.sort(key=itemgetter(0))
            self._is_sorted = True
        some: dict[WatchedDirectory, list[str]] = {}
        for _, node, base in self._waiting[-_AT_A_TIME:]:
            some.setdefault(node, []).append(base)
        del self._waiting[-_AT_A_TIME:]
        return some

    def clear(self) -> None:
        """They go without."""
        self._waiting.clear()


def _committed_at(directory: int, base: str) -> int | None:
    """When the workspace `base` got its marker, in nanoseconds; None when that is not younger than the status: a hint,
    and no proof."""
    try:
        marker = os.stat(f"{base}/{layout.META_MARKER}", dir_fd=directory, follow_symlinks=False)
        try:
            status = os.stat(f"{base}/{layout.META_STATUS}", dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            status = os.stat(f"{base}/{layout.STATUS}", dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None
    return marker.st_ctime_ns if status.st_ctime_ns <= marker.st_ctime_ns else None
