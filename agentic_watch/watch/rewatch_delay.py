"""When events were lost, all is watched anew; not more often than the host can bear. Times are passed in."""

from __future__ import annotations

_LEAST_SECONDS = 5.0
_SHARE = 10.0


class RewatchDelay:
    """Whether events of a root were lost, and when it may be watched anew because of that.

    The first time at once. After that there is a pause, longer where it took longer: who floods the queue for ever
    shall not have the host look at everything for ever.
    """

    def __init__(self) -> None:
        self._lost = False
        self._not_before = 0.0

    def lost(self) -> None:
        """Events were lost."""
        self._lost = True

    def is_due(self, now: float) -> bool:
        """Whether to watch anew now."""
        return self._lost and now >= self._not_before

    def until_due(self, longest: float, now: float) -> float:
        """Seconds until it is due, at most `longest`."""
        return min(longest, max(0.0, self._not_before - now)) if self._lost else longest

    def rewatched(self, began: float, now: float) -> None:
        """All is watched anew; what was lost before `began` does not matter any more."""
        self._lost = False
        self._not_before = now + max(_LEAST_SECONDS, _SHARE * (now - began))
