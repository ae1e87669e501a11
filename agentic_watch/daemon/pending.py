"""When is a workspace due? The daemon's queue: one entry a workspace, however many hints there were.

What an event of its own told of goes before what was found by looking: after the rename of an organisation thousands
are found at once, and the next finish elsewhere should not wait for them. Nor should it wait for a workspace that has
had much of the loop's time already (time_shares.py).

Times are seconds of one clock, passed in, so that tests need not wait.

When is the daemon ready? When each root's first look is over, and what was due then is done: a generation, not an
instant of rest, which never comes under a steady stream of finishes.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from agentic_watch.config import Root
from agentic_watch.workspace.candidate import Candidate, Key

_LONGEST_SETTLE = 5


class Lane(IntEnum):
    """Who goes first: what an event told of, then those of them that had much time lately, then what was found."""

    EVENT = 0
    BUSY = 1
    FOUND = 2


@dataclass(slots=True)
class _Entry:
    candidate: Candidate
    first: float
    due: float
    lane: Lane
    number: int


class Pending:
    """Candidates and the time at which each is due."""

    def __init__(self, settle_seconds: float) -> None:
        self.settle_seconds = settle_seconds
        self._entries: dict[Key, _Entry] = {}
        self._heaps: dict[Lane, list[tuple[float, int, Key]]] = {lane: [] for lane in Lane}
        self._pushed = self._made = 0

    def __len__(self) -> int:
        return len(self._entries)

    def touch(self, candidate: Candidate, now: float, *, lane: Lane = Lane.FOUND, wait: float = 0.0) -> None:
        """Something changed: due once it has been quiet for the settle time, at most five times that in all; not
        within `wait` seconds."""
        entry = self._entries.get(candidate.key)
        first = entry.first if entry is not None and entry.first <= now else now
        due = min(now + self.settle_seconds, first + _LONGEST_SETTLE * self.settle_seconds)
        lane = lane if entry is None or lane is Lane.BUSY else min(lane, entry.lane)
        self._put(_Entry(candidate, first, max(due, now + wait), lane, self._number(entry)))

    def add(self, candidate: Candidate, due: float, *, lane: Lane = Lane.FOUND) -> None:
        """Due at a set time, unless it is waiting already for an earlier one."""
        entry = self._entries.get(candidate.key)
        if entry is None or due < entry.due:
            lane = min(lane, entry.lane) if entry is not None else lane
            self._put(_Entry(candidate, due, due, lane, self._number(entry)))

    def take(self, now: float, at_most: int = 1, *, lane: Lane | None = None) -> list[Candidate]:
        """Remove and give up to `at_most` candidates that are due, the longest waiting first; only those of a lane, or
        one lane after the other."""
        taken: list[Candidate] = []
        for one in Lane if lane is None else (lane,):
            while len(taken) < at_most and (entry := self._head(one)) is not None and entry.due <= now:
                heapq.heappop(self._heaps[one])
                del self._entries[entry.candidate.key]
                taken.append(entry.candidate)
        return taken

    def is_due(self, now: float, lane: Lane) -> bool:
        """Whether one of a lane is due."""
        entry = self._head(lane)
        return entry is not None and entry.due <= now

    def keep_roots(self, roots: Sequence[Root]) -> None:
        """Forget what belongs to other roots than these, or to these as they were configured before."""
        self._entries = {key: entry for key, entry in self._entries.items() if entry.candidate.root in roots}

    def next_due(self, busy_from: float = 0.0) -> float | None:
        """When the next candidate is due, None when nothing waits; those of the busy lane not before `busy_from`."""
        heads = [(lane, entry.due) for lane in Lane if (entry := self._head(lane)) is not None]
        return min((max(due, busy_from) if lane is Lane.BUSY else due for lane, due in heads), default=None)

    def due_numbers(self, now: float) -> list[tuple[Key, int]]:
        """Which are due now: what `holds` can be asked about later."""
        return [(key, entry.number) for key, entry in self._entries.items() if entry.due <= now]

    def holds(self, key: Key, number: int) -> bool:
        """Whether one that was due then has not been taken since."""
        entry = self._entries.get(key)
        return entry is not None and entry.number == number

    def waited(self, now: float) -> float:
        """Seconds for which the one that came first has waited; 0.0 when none waits. A failing one waits from its
        next attempt on."""
        return max(0.0, now - min((entry.first for entry in self._entries.values()), default=now))

    def _number(self, entry: _Entry | None) -> int:
        if entry is not None:
            return entry.number
        self._made += 1
        return self._made

    def _put(self, entry: _Entry) -> None:
        key = entry.candidate.key
        self._entries[key] = entry
        self._pushed += 1
        heapq.heappush(self._heaps[entry.lane], (entry.due, self._pushed, key))
        if sum(map(len, self._heaps.values())) > 2 * len(self._entries) + 64:
            # A workspace that changes all the time leaves an outdated entry at each change.
            for lane in Lane:
                kept = ((k, e) for k, e in self._entries.items() if e.lane is lane)
                self._heaps[lane] = [(e.due, i, k) for i, (k, e) in enumerate(kept)]
                heapq.heapify(self._heaps[lane])

    def _head(self, lane: Lane) -> _Entry | None:
        heap = self._heaps[lane]
        while heap:
            due, _, key = heap[0]
            entry = self._entries.get(key)
            if entry is not None and entry.due == due and entry.lane is lane:
                return entry
            heapq.heappop(heap)
        return None


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
