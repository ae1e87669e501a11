"""Which directories have more events than is sensible? An agent may open and close files in its `.meta` all day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from watchdog.observers.inotify_c import InotifyConstants, WatchDescriptor

_SECONDS = 1.0
_LIMIT = 2_000.0
"""Per second and directory. The kernel merges equal events that follow each other; a commit makes about ten."""
_ALL = 20_000.0
_LIMIT_THEN = 200.0
"""When all directories together have more than that, the limit of each is this: one agent may storm in many."""
_OF_A_STATUS = 8.0
"""News that the loop is told costs more: 250 of them a second are too many."""
_OF_A_DIRECTORY = 0.25
"""Thousands of workspaces may honestly be made in one directory."""

_FIRST_REST_SECONDS = 10.0
_LONGEST_REST_SECONDS = 300.0
_LOOK_SECONDS = 1.0
_CALM_SECONDS = 60.0


class Noise:
    """Counts events by watch, a second at a time. Times are passed in."""

    def __init__(self, telling: frozenset[bytes]) -> None:
        self._telling = telling
        self._counted: dict[WatchDescriptor, float] = {}
        self._loud: set[WatchDescriptor] = set()
        self._all = 0.0
        self._until = 0.0

    def count(self, events: Iterable[tuple[WatchDescriptor, int, int, bytes]], now: float) -> list[WatchDescriptor]:
        """Take down events as (watch, mask, cookie, name); gives the watches that have become too loud by them."""
        counted, loud = self._counted, self._loud
        if now >= self._until:
            counted.clear()
            loud.clear()
            self._all, self._until = 0.0, now + _SECONDS
        found: list[WatchDescriptor] = []
        for wd, mask, _, name in events:
            if mask & InotifyConstants.IN_ISDIR:
                weight = _OF_A_DIRECTORY
            else:
                weight = _OF_A_STATUS if name in self._telling else 1.0
            counted[wd] = after = counted.get(wd, 0.0) + weight
            self._all += weight
            if after >= _LIMIT_THEN and (after >= _LIMIT or self._all >= _ALL) and wd >= 0 and wd not in loud:
                loud.add(wd)
                found.append(wd)
        return found


@dataclass(slots=True)
class Silence:
    """A directory that is looked at every second instead of being heard. `rest` grows while it does not calm down."""

    until: float
    next_look: float
    rest: float = _FIRST_REST_SECONDS
    signature: bytes = b""
    calm_at: float = 0.0

    @classmethod
    def beginning(cls, now: float, before: Silence | None) -> Silence:
        """Silence from now on; `before` is the last one of the same directory, if it has not been calm since."""
        rest = _FIRST_REST_SECONDS if before is None else min(2 * before.rest, _LONGEST_REST_SECONDS)
        return cls(now + rest, now + _LOOK_SECONDS, rest)

    def looked(self, now: float) -> None:
        """It was looked at."""
        self.next_look = now + _LOOK_SECONDS

    def heard_again(self, now: float) -> None:
        """It has its watch back, and is calm when it keeps it for a while."""
        self.calm_at = now + _CALM_SECONDS
