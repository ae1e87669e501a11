"""The daemon's queue of workspaces: when each is due to be committed. One entry per workspace.

Workspaces with an event precede those found by scanning: after an organisation's directory is renamed, thousands are
found at once and must not delay the next finish elsewhere. Workspaces that used much of the loop's time recently come
second.

Each workspace has a share of the loop's time; an agent that has used it up waits until it accrues again. So frequent
writes, or a large status, of one agent do not delay others.

Times are seconds of one clock, passed in, so that tests need not wait.

The daemon is ready when each root's first scan is complete and everything due at that time is committed. Waiting for an
empty queue instead could take for ever under a steady stream of finishes.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from agentic_watch.config import Root
from agentic_watch.workspace.candidate import Candidate, Key

_LONGEST_SETTLE = 5
_AT_ONCE_SECONDS = 0.1
_PER_SECOND = 0.002
"""Long-term share of the loop's time for one workspace; all busy ones together are limited by _ALL_BUSY_FACTOR."""
_LEAST_SECONDS = 0.005
"""Minimum charge for one look; reading an unfinished status takes a tenth of that."""
_MODEST_SECONDS = 0.0075
"""Up to this charge a workspace counts as modest: one look, and another for its report, within a few seconds."""
_LONGEST_WAIT_SECONDS = 16.0
_FORGET_AT = 1024
_ALL_BUSY_FACTOR = 4.0
"""All busy workspaces together get a fifth of the loop's time: a pause of four times its length follows each slice."""

_LONGEST_READING_SECONDS = 60.0
"""So long a start waits for long journals, all together: one of 10,000 lines takes 10 to 20 s."""


class Lane(IntEnum):
    """Priority: workspaces with an event, then those with an event that used much time recently, then those found by
    scans."""

    EVENT = 0
    BUSY = 1
    FOUND = 2


class _Entry(NamedTuple):
    """Ordered by `due`, then by the unique `pushed`. `number` stays the same when the entry is rescheduled."""

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
        """A workspace changed: due once it has been quiet for the settle time, after at most five settle times, and not
        within `wait` seconds."""
        key = candidate.key
        entry = self._entries.get(key)
        first = entry.first if entry is not None and entry.first <= now else now
        due = min(now + self.settle_seconds, first + _LONGEST_SETTLE * self.settle_seconds)
        lane = lane if entry is None or lane is Lane.BUSY else min(lane, entry.lane)
        self._put(key, candidate, (first, max(due, now + wait), lane), entry)

    def add(self, candidate: Candidate, due: float, *, lane: Lane = Lane.FOUND) -> None:
        """Schedule a workspace at `due`, unless it is already scheduled earlier."""
        key = candidate.key
        entry = self._entries.get(key)
        if entry is None or due < entry.due:
            self._put(key, candidate, (due, due, lane if entry is None else min(lane, entry.lane)), entry)

    def take(self, now: float, lane: Lane) -> Candidate | None:
        """Remove and return the due workspace of a lane that has waited longest; None when none is due."""
        heap = self._heaps[lane]
        while heap and heap[0].due <= now:
            entry = heapq.heappop(heap)
            if self._entries.get(entry.key) is entry:
                del self._entries[entry.key]
                return entry.candidate
        return None

    def due_lanes(self, now: float, busy_from: float) -> list[Lane]:
        """The lanes with due workspaces, in order of priority; the busy lane not before `busy_from`."""
        due: list[Lane] = []
        for lane, heap in self._heaps.items():
            if heap and heap[0].due <= now and (lane is not Lane.BUSY or now >= busy_from):
                due.append(lane)
        return due

    def is_due(self, now: float, lane: Lane) -> bool:
        """Whether a workspace of a lane is due; may also be true for one that was rescheduled."""
        heap = self._heaps[lane]
        return bool(heap) and heap[0].due <= now

    def keep_roots(self, roots: Sequence[Root]) -> None:
        """Drop workspaces of roots that are gone or whose configuration changed."""
        self._entries = {key: entry for key, entry in self._entries.items() if entry.candidate.root in roots}

    def next_due(self, busy_from: float = 0.0) -> float | None:
        """When the next workspace is due, None when the queue is empty; the busy lane not before `busy_from`."""
        earliest: float | None = None
        for lane, heap in self._heaps.items():
            while heap and self._entries.get(heap[0].key) is not heap[0]:
                heapq.heappop(heap)
            if heap:
                due = max(heap[0].due, busy_from) if lane is Lane.BUSY else heap[0].due
                earliest = due if earliest is None else min(earliest, due)
        return earliest

    def due_numbers(self, now: float) -> list[tuple[Key, int]]:
        """Identify the entries that are due now, for later calls of `holds`."""
        return [(key, entry.number) for key, entry in self._entries.items() if entry.due <= now]

    def holds(self, key: Key, number: int) -> bool:
        """Whether an entry of `due_numbers` has not been taken since."""
        entry = self._entries.get(key)
        return entry is not None and entry.number == number

    def waited(self, now: float) -> float:
        """Seconds that the oldest entry has waited; 0.0 when none waits. A failing workspace counts from its next
        attempt."""
        return max(0.0, now - min((entry.first for entry in self._entries.values()), default=now))

    def _put(self, key: Key, candidate: Candidate, when: tuple[float, float, Lane], before: _Entry | None) -> None:
        """Replace the entry `before`, keeping its number; `when` is first, due, lane."""
        first, due, lane = when
        self._pushed += 1
        number = self._pushed
        if before is not None:
            # The outdated entry stays in the heap for a while: share with it what may be shared.
            number, key = before.number, before.key
            candidate = before.candidate if candidate == before.candidate else candidate
        entry = self._entries[key] = _Entry(due, self._pushed, key, candidate, first, lane, number)
        heapq.heappush(self._heaps[lane], entry)
        if sum(map(len, self._heaps.values())) > 2 * len(self._entries) + 64:
            # Each change of a workspace leaves an outdated entry in the heap.
            for one in Lane:
                self._heaps[one] = [entry for entry in self._entries.values() if entry.lane is one]
                heapq.heapify(self._heaps[one])


class Readiness:
    """Tracks the work to do after a start or reload before the daemon is ready."""

    def __init__(self, pending: Pending, roots: Iterable[str]) -> None:
        self._pending = pending
        self._unseen = set(roots)
        self._owed: list[tuple[Key, int]] | None = None
        self._read: list[tuple[Key, float]] = []
        self._until = float("inf")

    def seen(self, key: str) -> None:
        """The first scan of a root is complete, or the root does not exist."""
        self._unseen.discard(key)

    def is_reached(self, now: float, hanging: Collection[str], reading: Mapping[Key, float]) -> bool:
        """Whether the daemon is ready. Roots that hang are not waited for.

        `reading` maps each workspace whose long journal is being read to the start of that reading. A reading that
        starts after the workspace was committed is not waited for, and none longer than _LONGEST_READING_SECONDS: one
        agent can fill the journals of many workspaces.
        """
        if self._owed is None:
            if not self._unseen <= set(hanging):
                return False
            self._owed, self._read = self._pending.due_numbers(now), list(reading.items())
            self._until = now + _LONGEST_READING_SECONDS
        while self._owed and not self._pending.holds(*self._owed[-1]):
            key, _ = self._owed.pop()
            if key in reading:
                self._read.append((key, reading[key]))
        self._read = [(key, began) for key, began in self._read if reading.get(key) == began]
        return not self._owed and (not self._read or now >= self._until)


class TimeShares:
    """Recent processor time of the loop per workspace; not elapsed time, since a slow disk is not an agent's fault.

    Workspaces without recent use are forgotten, so memory is bounded. Busy workspaces have their next turn at
    `busy_from`.
    """

    def __init__(self) -> None:
        self.busy_from = 0.0
        self._had: dict[Key, tuple[float, float]] = {}
        self._forget_at = _FORGET_AT

    def charge(self, key: Key, seconds: float, now: float) -> None:
        """Charge a workspace with processor seconds."""
        most = _AT_ONCE_SECONDS + _LONGEST_WAIT_SECONDS * _PER_SECOND
        self._had[key] = (min(self._lately(key, now) + max(seconds, _LEAST_SECONDS), most), now)
        if len(self._had) >= self._forget_at:
            self._had = {one: had for one, had in self._had.items() if self._lately(one, now)}
            self._forget_at = max(_FORGET_AT, 2 * len(self._had))

    def use_up(self, key: Key, now: float) -> None:
        """A workspace had too many events: charge its whole burst."""
        self._had[key] = (max(self._lately(key, now), _AT_ONCE_SECONDS), now)

    def busy_had(self, seconds: float, now: float) -> None:
        """The busy workspaces used `seconds` of a turn: pause them in proportion."""
        self.busy_from = max(self.busy_from, now + _ALL_BUSY_FACTOR * seconds)

    def of(self, key: Key, now: float) -> tuple[float, bool]:
        """Seconds until a workspace may be handled again, and whether its recent use is modest."""
        had = self._lately(key, now)
        return max(0.0, had - _AT_ONCE_SECONDS) / _PER_SECOND, had <= _MODEST_SECONDS

    def _lately(self, key: Key, now: float) -> float:
        had, at = self._had.get(key, (0.0, now))
        return max(0.0, had - (now - at) * _PER_SECOND)
