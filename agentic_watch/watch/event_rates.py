"""Which directories have more events than is sensible? An agent may open and close files in its `.meta` all day."""

from __future__ import annotations

from collections.abc import Iterable

from watchdog.observers.inotify_c import InotifyConstants, WatchDescriptor

_SECONDS = 1.0
_LIMITS = ((100_000.0, 256.0), (25_000.0, 500.0), (0.0, 2_000.0))
"""(what all directories together have in this second, what one of them may have then). The kernel merges equal events
that follow each other; a finish and its commit weigh up to 220. One agent may storm in many directories, a little in
each."""
_OF_A_STATUS = 40.0
"""News that the loop is told costs more: 50 of them a second are too many."""
_OF_A_DIRECTORY = 0.25
"""Thousands of workspaces may honestly be made in one directory."""

Event = tuple[WatchDescriptor, int, bytes]
"""(watch, mask, name)."""


class EventRates:
    """Weighs events by watch, a second at a time. Times are passed in."""

    def __init__(self, telling: frozenset[bytes]) -> None:
        self._telling = telling
        self._weights: dict[WatchDescriptor, float] = {}
        self._all = 0.0
        self._until = 0.0

    def count(self, events: Iterable[tuple[Event, int]], now: float) -> list[WatchDescriptor]:
        """Count events, each with how often it came; gives the watches that have had too many by them.

        Who gives such a watch up is not named again: there are no more events of it.
        """
        weights = self._weights
        if now >= self._until:
            weights.clear()
            self._all, self._until = 0.0, now + _SECONDS
        met: dict[WatchDescriptor, None] = {}
        for (wd, mask, name), times in events:
            if mask & InotifyConstants.IN_ISDIR:
                weight = _OF_A_DIRECTORY * times
            else:
                weight = (_OF_A_STATUS if name in self._telling else 1.0) * times
            weights[wd] = weights.get(wd, 0.0) + weight
            self._all += weight
            met[wd] = None
        limit = next(each for all_together, each in _LIMITS if self._all >= all_together)
        return [wd for wd in met if wd >= 0 and weights[wd] >= limit]
