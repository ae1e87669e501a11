"""When is a workspace due? The daemon's queue: one entry a workspace, however many hints there were.

What was told by an event of its own goes before what was found by looking: after the rename of an organisation
thousands are found at once, and the next finish elsewhere should not wait for them.

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
    told: bool = False


class Pending:
    """Candidates and the time at which each is due."""

    def __init__(self, settle_seconds: float) -> None:
        self.settle_seconds = settle_seconds
        self._entries: dict[Key, _Entry] = {}
        self._heaps: dict[bool, list[tuple[float, int, Key]]] = {True: [], False: []}
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._entries)

    def touch(self, candidate: Candidate, now: float, *, told: bool = False) -> None:
        """Something changed: due once it has been quiet for the settle time, at most five times that in all."""
        entry = self._entries.get(_key(candidate))
        first = entry.first if entry is not None and entry.first <= now else now
        due = min(now + self.settle_seconds, first + _LONGEST_SETTLE * self.settle_seconds)
        self._put(_Entry(candidate, first, max(due, now), told or (entry is not None and entry.told)))

    def add(self, candidate: Candidate, due: float) -> None:
        """Due at a set time, unless it is waiting already for an earlier one."""
        entry = self._entries.get(_key(candidate))
        if entry is None or due < entry.due:
            self._put(_Entry(candidate, due, due, entry is not None and entry.told))

    def take(self, now: float, at_most: int = 1, *, told: bool | None = None) -> list[Candidate]:
        """Remove and give up to `at_most` candidates that are due, the longest waiting first.

        With `told` True or False only those; else the told ones before the others.
        """
        taken: list[Candidate] = []
        for lane in (True, False) if told is None else (told,):
            while len(taken) < at_most and (entry := self._head(lane)) is not None and entry.due <= now:
                heapq.heappop(self._heaps[lane])
                del self._entries[_key(entry.candidate)]
                taken.append(entry.candidate)
        return taken

    def is_told(self, now: float) -> bool:
        """Whether one that an event told of is due."""
        entry = self._head(True)
        return entry is not None and entry.due <= now

    def keep_roots(self, roots: Sequence[Root]) -> None:
        """Forget what belongs to other roots than these, or to these as they were configured before."""
        self._entries = {key: entry for key, entry in self._entries.items() if entry.candidate.root in roots}

    def next_due(self) -> float | None:
        """When the next candidate is due, None when nothing waits."""
        heads = [entry.due for lane in (True, False) if (entry := self._head(lane)) is not None]
        return min(heads, default=None)

    def waited(self, now: float) -> float:
        """Seconds for which the one that came first has waited; 0.0 when none waits. A failing one waits from its
        next attempt on."""
        return max(0.0, now - min((entry.first for entry in self._entries.values()), default=now))

    def _put(self, entry: _Entry) -> None:
        key = _key(entry.candidate)
        self._entries[key] = entry
        self._pushed += 1
        heapq.heappush(self._heaps[entry.told], (entry.due, self._pushed, key))
        if sum(map(len, self._heaps.values())) > 2 * len(self._entries) + 64:
            # A workspace that changes all the time leaves an outdated entry at each change.
            for lane in (True, False):
                kept = ((k, e) for k, e in self._entries.items() if e.told is lane)
                self._heaps[lane] = [(e.due, i, k) for i, (k, e) in enumerate(kept)]
                heapq.heapify(self._heaps[lane])

    def _head(self, lane: bool) -> _Entry | None:
        heap = self._heaps[lane]
        while heap:
            due, _, key = heap[0]
            entry = self._entries.get(key)
            if entry is not None and entry.due == due and entry.told is lane:
                return entry
            heapq.heappop(heap)
        return None


def _key(candidate: Candidate) -> Key:
    return candidate.root.key, candidate.name
