"""Directories to check again after a pause, because no event will announce their next change.

- *refused*: could not be opened; its owner may grant access a moment later, or an operator some day.
- *status removed*: the status may return in a moment; otherwise the workspace becomes a level again.
- *throttled*: had too many events, so it has no watch for a while (inotify_reader.py).

Times are passed in, in seconds of the monotonic clock.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import islice

_PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0)
_QUIET_SECONDS = 60.0
"""A directory that needed no recheck for so long starts again with the shortest pause."""
_AT_MOST = 4096
_AT_A_TIME = 16


@dataclass(slots=True)
class Recheck:
    """A pending recheck of one directory; `tries` counts the consecutive ones. `identity` is the device and inode of a
    level that stays in the tree without a watch, None for all others."""

    due: float
    tries: int
    throttled: bool
    identity: tuple[int, int] | None = None


class Rechecks:
    """Rechecks by path below the root, owned by one root's thread.

    At most _AT_MOST of directories that were not throttled: scans find the others. A throttled one has no watch until
    its recheck, so it is always taken; the reader cannot throttle more than a few thousand within the longest pause.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, Recheck] = {}
        self._done: dict[str, Recheck] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._waiting

    def add(self, path: str, now: float, *, throttled: bool = False, identity: tuple[int, int] | None = None) -> None:
        """Schedule a recheck of `path`: after one second at most, and with longer pauses when rechecks repeat."""
        if path in self._waiting or (len(self._waiting) >= _AT_MOST and not throttled):
            return
        before = self._done.pop(path, None)
        tries = before.tries + 1 if before is not None else 0
        throttled = throttled or (before is not None and before.throttled)
        # Spread by name, so that thousands throttled together are not rechecked at once.
        share = 0.5 + 0.5 * zlib.crc32(path.encode("utf-8", "surrogateescape")) / 2**32
        due = now + share * _PAUSES_SECONDS[min(tries, len(_PAUSES_SECONDS) - 1)]
        self._waiting[path] = Recheck(due, tries, throttled, identity)

    def discard(self, path: str) -> None:
        """Cancel the recheck of `path`: it was examined, or is gone."""
        self._waiting.pop(path, None)

    def below(self, path: str) -> set[str]:
        """Names of directories waiting directly below `path` ("" for the root)."""
        return {base for parent, _, base in (one.rpartition("/") for one in self._waiting) if parent == path}

    def until_next(self, longest: float, now: float) -> float:
        """Seconds until the next recheck is due, at most `longest`."""
        due = min((one.due for one in self._waiting.values()), default=now + longest)
        return max(0.0, min(due - now, longest))

    def take(self, now: float) -> dict[str, Recheck]:
        """Return some rechecks that are due; the caller adds a path again if it is still not readable."""
        due = ((path, one) for path, one in self._waiting.items() if one.due <= now)
        taken = dict(islice(due, _AT_A_TIME))
        for path, one in taken.items():
            del self._waiting[path]
            one.due = now
            self._done[path] = one
        while len(self._done) > _AT_MOST:
            del self._done[next(iter(self._done))]
        return taken

    def settled(self, now: float) -> list[str]:
        """Throttled directories that have needed no recheck for a while."""
        quiet = [path for path, one in self._done.items() if now - one.due >= _QUIET_SECONDS]
        return [path for path in quiet if self._done.pop(path).throttled]
