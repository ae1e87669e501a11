"""How much of something is let through: so much at once, so much in the long run. Times are passed in."""

from __future__ import annotations


class Allowance:
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
