"""When is the daemon ready? When each root's first look is over, and what was due then is done: a generation, not an
instant of rest, which never comes under a steady stream of finishes."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from agentic_watch.daemon.pending import Pending
from agentic_watch.daemon.time_shares import Key


class Readiness:
    """What has to be done before the daemon is ready, from a start or a reload on."""

    def __init__(self, pending: Pending, roots: Iterable[str]) -> None:
        self._pending = pending
        self._unseen = set(roots)
        self._owed: list[tuple[Key, int]] | None = None

    def seen(self, key: str) -> None:
        """The first look over a root is over; or it is not there to be looked at."""
        self._unseen.discard(key)

    def is_reached(self, now: float, hanging: Collection[str]) -> bool:
        """Whether all is done. A root that hangs is not waited for."""
        if self._owed is None:
            if not self._unseen <= set(hanging):
                return False
            self._owed = self._pending.due_numbers(now)
        while self._owed and not self._pending.holds(*self._owed[-1]):
            self._owed.pop()
        return not self._owed
