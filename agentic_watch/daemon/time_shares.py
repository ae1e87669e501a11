"""How much of the loop's time each workspace had: what one agent writes and touches costs the others none of theirs.

Whoever has had its share waits until it has another one, and those that had little lately go first. So it matters
neither how often a status is written nor how large it is. Times are seconds of one clock, passed in.
"""

from __future__ import annotations

Key = tuple[str, str]
"""(root's key, workspace's name)."""

_AT_ONCE_SECONDS = 0.1
_PER_SECOND = 0.01
"""In the long run one workspace gets a hundredth of the loop's time."""
_LEAST_SECONDS = 0.005
"""What a look counts at least: an unfinished status is opened and read in a tenth of that."""
_MODEST_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 16.0
_FORGET_AT = 1024


class TimeShares:
    """By workspace, what it had lately. Who had none for ten seconds is forgotten, so that nothing grows."""

    def __init__(self) -> None:
        self._had: dict[Key, tuple[float, float]] = {}
        self._forget_at = _FORGET_AT

    def charge(self, key: Key, seconds: float, now: float) -> None:
        """A look at a workspace took so long."""
        most = _AT_ONCE_SECONDS + _LONGEST_WAIT_SECONDS * _PER_SECOND
        self._had[key] = (min(self._lately(key, now) + max(seconds, _LEAST_SECONDS), most), now)
        if len(self._had) >= self._forget_at:
            self._had = {one: had for one, had in self._had.items() if self._lately(one, now)}
            self._forget_at = max(_FORGET_AT, 2 * len(self._had))

    def is_modest(self, key: Key, now: float) -> bool:
        """Whether a workspace had little lately."""
        return self._lately(key, now) <= _MODEST_SECONDS

    def wait(self, key: Key, now: float) -> float:
        """Seconds until a workspace may have more."""
        return max(0.0, self._lately(key, now) - _AT_ONCE_SECONDS) / _PER_SECOND

    def _lately(self, key: Key, now: float) -> float:
        had, at = self._had.get(key, (0.0, now))
        return max(0.0, had - (now - at) * _PER_SECOND)
