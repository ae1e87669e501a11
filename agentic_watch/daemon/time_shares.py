"""How much of the loop's time each workspace had: what one agent writes and touches costs the others none of theirs.

Whoever has had its share waits until it has another one, and those that had little lately go first. So it matters
neither how often a status is written nor how large it is. What is charged is the loop's processor time: a slow disk or
a busy host is no agent's doing. Times are seconds of one clock, passed in.

How much of something is let through: so much at once, so much in the long run. Times are passed in.
"""

from __future__ import annotations

from agentic_watch.workspace.candidate import Key

_AT_ONCE_SECONDS = 0.1
_PER_SECOND = 0.002
"""In the long run a workspace gets this part of the loop's time: of a thousand that storm all together, little more."""
_LEAST_SECONDS = 0.005
"""What a look counts at least: an unfinished status is opened and read in a tenth of that."""
_MODEST_SECONDS = 0.0075
"""One look within the last few seconds: a status, and then its report."""
_LONGEST_WAIT_SECONDS = 16.0
_FORGET_AT = 1024
_ALL_BUSY_FACTOR = 4.0
"""All that had much lately get a fifth of the loop's time together: after each slice there is a pause."""


class TimeShares:
    """By workspace, what it had lately. Who had none for a minute is forgotten, so that nothing grows.

    Those that had much have their next turn at `busy_from`.
    """

    def __init__(self) -> None:
        self.busy_from = 0.0
        self._had: dict[Key, tuple[float, float]] = {}
        self._forget_at = _FORGET_AT

    def charge(self, key: Key, seconds: float, now: float) -> None:
        """A look at a workspace took so many seconds of the processor."""
        most = _AT_ONCE_SECONDS + _LONGEST_WAIT_SECONDS * _PER_SECOND
        self._had[key] = (min(self._lately(key, now) + max(seconds, _LEAST_SECONDS), most), now)
        if len(self._had) >= self._forget_at:
            self._had = {one: had for one, had in self._had.items() if self._lately(one, now)}
            self._forget_at = max(_FORGET_AT, 2 * len(self._had))

    def use_up(self, key: Key, now: float) -> None:
        """A workspace had too many events: it counts as one that had all it may have at once."""
        self._had[key] = (max(self._lately(key, now), _AT_ONCE_SECONDS), now)

    def busy_had(self, seconds: float, now: float) -> None:
        """Those that had much lately have had so much more."""
        self.busy_from = max(self.busy_from, now + _ALL_BUSY_FACTOR * seconds)

    def is_modest(self, key: Key, now: float) -> bool:
        """Whether a workspace had little lately."""
        return self._lately(key, now) <= _MODEST_SECONDS

    def wait(self, key: Key, now: float) -> float:
        """Seconds until a workspace may have more."""
        return max(0.0, self._lately(key, now) - _AT_ONCE_SECONDS) / _PER_SECOND

    def _lately(self, key: Key, now: float) -> float:
        had, at = self._had.get(key, (0.0, now))
        return max(0.0, had - (now - at) * _PER_SECOND)


class RateLimiter:
    """`burst` at once, then `per_second`; what is not used is saved up to `burst`."""

    __slots__ = ("_burst", "_left", "_per_second", "_since")

    def __init__(self, burst: float, per_second: float) -> None:
        self._burst = self._left = burst
        self._per_second = per_second
        self._since: float | None = None

    def take(self, now: float) -> bool:
        """Whether one more is let through."""
        if self._since is not None:
            self._left = min(self._burst, self._left + (now - self._since) * self._per_second)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
