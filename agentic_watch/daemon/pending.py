"""When is a workspace due? The daemon's queue: one entry a workspace, however many hints there were.

What an event of its own told of goes before what was found by looking: after the rename of an organisation thousands
are found at once, and the next finish elsewhere should not wait for them. Nor should it wait for a workspace that has
had much of the loop's time already.

Nor does what one agent writes and touches cost the others any of the loop's time: whoever has had its share waits until
it has another one, so it matters neither how often a status is written nor how large it is.

Times are seconds of one clock, passed in, so that tests need not wait.

When is the daemon ready? When each root's first look is over, and what was due then is done: a generation, not an
instant of rest, which never comes under a steady stream of finishes.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Sequence
from enum import IntEnum
from typing import NamedTuple

from agentic_watch.config import Root
from agentic_watch.workspace.candidate import Candidate, Key

_LONGEST_SETTLE = 5
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


class Lane(IntEnum):
    """Who goes first: what an event told of, then those of them that had much time lately, then what was found."""

    EVENT = 0
    BUSY = 1
    FOUND = 2


class _Entry(NamedTuple):
    """Ordered by `due`, then by `pushed`, which no other one has. `number` stays while it is put off."""

    due: float
    pushed: int
    key: Key
    candidate: Candidate
    first: float
    lane: Lane
    number: int


class Pending:
    """Candidates and the time at which each is due."""

    def __init__(self, settle_seconds: float) -> None:
        self.settle_seconds = settle_seconds
        self._entries: dict[Key, _Entry] = {}
        self._heaps: dict[Lane, list[_Entry]] = {lane: [] for lane in Lane}
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._entries)

    def touch(self, candidate: Candidate, now: float, *, lane: Lane = Lane.FOUND, wait: float = 0.0) -> None:
        """Something changed: due once it has been quiet for the settle time, at most five times that in all; not
        within `wait` seconds."""
        key = candidate.key
        entry = self._entries.get(key)
        first = entry.first if entry is not None and entry.first <= now else now
        due = min(now + self.settle_seconds, first + _LONGEST_SETTLE * self.settle_seconds)
        lane = lane if entry is None or lane is Lane.BUSY else min(lane, entry.lane)
        self._put(key, candidate, (first, max(due, now + wait), lane), entry)

    def add(self, candidate: Candidate, due: float, *, lane: Lane = Lane.FOUND) -> None:
        """Due at a set time, unless it is waiting already for an earlier one."""
        key = candidate.key
        entry = self._entries.get(key)
        if entry is None or due < entry.due:
            self._put(key, candidate, (due, due, lane if entry is None else min(lane, entry.lane)), entry)

    def take(self, now: float, lane: Lane) -> Candidate | None:
        """Remove and give the one of a lane that is due and has waited longest; None when none is due."""
        heap = self._heaps[lane]
        while heap and heap[0].due <= now:
            entry = heapq.heappop(heap)
            if self._entries.get(entry.key) is entry:
                del self._entries[entry.key]
                return entry.candidate
        return None

    def due_lanes(self, now: float, busy_from: float) -> list[Lane]:
        """The lanes of which `is_due`, the first to go first; the busy one not before `busy_from`."""
        due: list[Lane] = []
        for lane, heap in self._heaps.items():
            if heap and heap[0].due <= now and (lane is not Lane.BUSY or now >= busy_from):
                due.append(lane)
        return due

    def is_due(self, now: float, lane: Lane) -> bool:
        """Whether one of a lane is due; true as well for a moment that has passed since it was put off."""
        heap = self._heaps[lane]
        return bool(heap) and heap[0].due <= now

    def keep_roots(self, roots: Sequence[Root]) -> None:
        """Forget what belongs to other roots than these, or to these as they were configured before."""
        self._entries = {key: entry for key, entry in self._entries.items() if entry.candidate.root in roots}

    def next_due(self, busy_from: float = 0.0) -> float | None:
        """When the next candidate is due, None when nothing waits; those of the busy lane not before `busy_from`."""
        earliest: float | None = None
        for lane, heap in self._heaps.items():
            while heap and self._entries.get(heap[0].key) is not heap[0]:
                heapq.heappop(heap)
            if heap:
                due = max(heap[0].due, busy_from) if lane is Lane.BUSY else heap[0].due
                earliest = due if earliest is None else min(earliest, due)
        return earliest

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

    def _put(self, key: Key, candidate: Candidate, when: tuple[float, float, Lane], before: _Entry | None) -> None:
        """In the place of the entry `before`, whose number it keeps; `when` is first, due, lane."""
        first, due, lane = when
        self._pushed += 1
        number = self._pushed if before is None else before.number
        entry = self._entries[key] = _Entry(due, self._pushed, key, candidate, first, lane, number)
        heapq.heappush(self._heaps[lane], entry)
        if sum(map(len, self._heaps.values())) > 2 * len(self._entries) + 64:
            # A workspace that changes all the time leaves an outdated entry at each change.
            for one in Lane:
                self._heaps[one] = [entry for entry in self._entries.values() if entry.lane is one]
                heapq.heapify(self._heaps[one])


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


class TimeShares:
    """By workspace, what it had lately of the loop's processor time: a slow disk or a busy host is no agent's doing.

    Who had none for a minute is forgotten, so that nothing grows. Those that had much have their next turn at
    `busy_from`.
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

    def of(self, key: Key, now: float) -> tuple[float, bool]:
        """Seconds until a workspace may have more, and whether it had little lately."""
        had = self._lately(key, now)
        return max(0.0, had - _AT_ONCE_SECONDS) / _PER_SECOND, had <= _MODEST_SECONDS

    def _lately(self, key: Key, now: float) -> float:
        had, at = self._had.get(key, (0.0, now))
        return max(0.0, had - (now - at) * _PER_SECOND)
