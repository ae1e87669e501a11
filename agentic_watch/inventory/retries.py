"""When is a failing workspace tried again?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from agentic_watch.workspace.candidate import Candidate

BACKOFF_SECONDS = (1, 5, 15, 60, 300)
SCOUT_SECONDS = 15.0
"""While a root's workspaces fail by the host's fault, one of them is tried so often; all of them at most so often."""


def backoff(fail_count: int) -> float:
    """Seconds to wait after the `fail_count`-th failure in a row: 1, 5, 15, 60, then 300, ± 10 %."""
    import random  # 5 ms to import, and rarely needed

    return BACKOFF_SECONDS[min(fail_count, len(BACKOFF_SECONDS)) - 1] * random.uniform(0.9, 1.1)  # noqa: S311


@dataclass(slots=True)
class _Root:
    """Who waits for the host, who was tried longest ago first; who is the scout; when all were called last."""

    waiting: dict[str, Candidate] = field(default_factory=dict)
    scout: str = ""
    called_at: float = float("-inf")


class HostFaults:
    """Workspaces that fail by the host's fault (a full disk), and need not wait until a back-off of minutes is over.

    Where one of a root is committed the host is well again, and all others of that root are called. That this is seen
    when nothing else finishes, a scout is sent: each in turn. Times are the monotonic clock's seconds, passed in.
    """

    def __init__(self) -> None:
        self._roots: dict[str, _Root] = {}

    def failed(self, candidate: Candidate) -> None:
        """It failed by the host's fault: it is the last to be a scout."""
        self.ended(candidate)
        self._roots.setdefault(candidate.root.key, _Root()).waiting[candidate.name] = candidate

    def ended(self, candidate: Candidate) -> None:
        """Something else became of it."""
        root = self._roots.get(candidate.root.key)
        if root is not None and root.waiting.pop(candidate.name, None) is not None and root.scout == candidate.name:
            root.scout = ""

    def called(self, key: str, now: float) -> list[Candidate]:
        """Those to be tried now, since another of their root was committed."""
        root = self._roots.get(key)
        if root is None or now - root.called_at < SCOUT_SECONDS:
            return []
        root.called_at = now
        return list(root.waiting.values())

    def scouts(self, now: float) -> Iterator[tuple[Candidate, float]]:
        """A scout for each root that has none under way, and when it is due."""
        for root in self._roots.values():
            if root.waiting and not root.scout:
                root.scout = next(iter(root.waiting))
                yield root.waiting[root.scout], now + SCOUT_SECONDS
