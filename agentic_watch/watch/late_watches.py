"""Which workspaces get their watches only after the daemon is ready: of very many, those committed long since.

To place two watches for each of 100,000 takes longer than all else that a start does. Until they are placed a scan
stands for them: the one that each start makes, and another one afterwards, so that nothing falls between.
"""

from __future__ import annotations

import os

from agentic_watch.watch.watches import Node
from agentic_watch.workspace import layout

_AT_ONCE = 1_000
"""So many need not wait: their watches take less than a tenth of a second."""
_AT_A_TIME = 64


class LateWatches:
    """Owned by one root's thread."""

    def __init__(self) -> None:
        self._waiting: dict[Node, list[str]] = {}
        self._spared = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put_off(self, node: Node, directory: int, base: str) -> bool:
        """Whether the directory `base` of `node`, which is open, may wait; then it is remembered."""
        if not _is_committed(directory, base):
            return False
        if self._spared < _AT_ONCE:
            self._spared += 1
            return False
        self._waiting.setdefault(node, []).append(base)
        return True

    def take(self) -> tuple[Node, list[str]]:
        """Some of them, which lie in one directory; there must be some."""
        node, names = next(iter(self._waiting.items()))
        some = names[-_AT_A_TIME:]
        del names[-_AT_A_TIME:]
        if not names:
            del self._waiting[node]
        return node, some

    def clear(self) -> None:
        """They go without."""
        self._waiting.clear()


def _is_committed(directory: int, base: str) -> bool:
    """Whether there is a marker younger than the status of the workspace `base`: a hint, and no proof."""
    try:
        marker = os.stat(f"{base}/{layout.META_MARKER}", dir_fd=directory, follow_symlinks=False)
        try:
            status = os.stat(f"{base}/{layout.META_STATUS}", dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            status = os.stat(f"{base}/{layout.STATUS}", dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return status.st_ctime_ns <= marker.st_ctime_ns
