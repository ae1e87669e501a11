"""When is a workspace due? The daemon's queue: one entry a workspace, however many hints there were.

Times are seconds of one clock, passed in, so that tests need not wait.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from agentic_watch.config import Root
from agentic_watch.workspace.layout import Candidate

Key = tuple[str, str]
_LONGEST_SETTLE = 5


@dataclass(slots=True)
class _Entry:
    candidate: Candidate
    first: float
    due: float


class Pending:
    """Candidates and the time at which each is due."""

    def __init__(self, settle_seconds: float) -> None:
        self.settle_seconds = settle_seconds
        self._entries: dict[Key, _Entry] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._entries)

    def touch(self, candidate: Candidate, now: float) -> None:
        """Something changed: due once it has been quiet for the settle time, at most five times that in all."""
        entry = self._entries.get(_key(candidate))
        first = entry.first if entry is not None and entry.first <= now else now
        due = min(now + self.settle_seconds, first + _LONGEST_SETTLE * self.settle_seconds)
        self._put(_Entry(candidate, first, max(due, now)))

    def add(self, candidate: Candidate, due: float) -> None:
        """Due at a set time, unless it is waiting already for an earlier one."""
        entry = self._entries.get(_key(candidate))
        if entry is None or due < entry.due:
            self._put(_Entry(candidate, due, due))

    def take(self, now: float, at_most: int) -> list[Candidate]:
        """Remove and give up to `at_most` candidates that are due, the longest waiting first."""
        taken: list[Candidate] = []
        while len(taken) < at_most and (entry := self._head()) is not None and entry.due <= now:
            heapq.heappop(self._heap)
            del self._entries[_key(entry.candidate)]
            taken.append(entry.candidate)
        return taken

    def keep_roots(self, roots: Sequence[Root]) -> None:
        """Forget what belongs to other roots than these, or to these as they were configured before."""
        self._entries = {key: entry for key, entry in self._entries.items() if entry.candidate.root in roots}

    def next_due(self) -> float | None:
        """When the next candidate is due, None when nothing waits."""
        entry = self._head()
        return entry.due if entry is not None else None

    def waited(self, now: float) -> float:
        """Seconds for which the one that came first has waited; 0.0 when none waits. A failing one waits from its
        next attempt on."""
        return max(0.0, now - min((entry.first for entry in self._entries.values()), default=now))

    def _put(self, entry: _Entry) -> None:
        key = _key(entry.candidate)
        self._entries[key] = entry
        self._pushed += 1
        heapq.heappush(self._heap, (entry.due, self._pushed, key))
        if len(self._heap) > 2 * len(self._entries) + 64:
            # A workspace that changes all the time leaves an outdated entry at each change.
            self._heap = [(e.due, i, k) for i, (k, e) in enumerate(self._entries.items())]
            heapq.heapify(self._heap)

    def _head(self) -> _Entry | None:
        while self._heap:
            due, _, key = self._heap[0]
            entry = self._entries.get(key)
            if entry is not None and entry.due == due:
                return entry
            heapq.heappop(self._heap)
        return None


def _key(candidate: Candidate) -> Key:
    return candidate.root.key, candidate.name
