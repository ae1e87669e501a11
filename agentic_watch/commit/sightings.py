"""Keeps finished statuses in memory until they are committed.

A commit waits until a workspace has settled. A finish that is replaced or removed meanwhile is committed from the copy
kept here. Memory is bounded, and the copies are lost when the process is killed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

from agentic_watch.workspace.candidate import Candidate, Key
from agentic_watch.workspace.record import Identity
from agentic_watch.workspace.status import Status

_EACH = 8
"""Finishes kept per workspace; further ones within a settle time are not recorded."""
_EACH_BYTES = 1 << 20
_ALL_BYTES = 8 << 20


class Sighting(NamedTuple):
    """A finished status with the report beside it (None when missing or too large), the inode of its directory
    (Place.inode), and the names under which marker or journal recorded it."""

    status: Status
    report: bytes | None
    inode: tuple[int, int]
    recorded_names: frozenset[str] = frozenset()
    weight: int = 0

    @property
    def identity(self) -> Identity:
        """The identity of its commit."""
        return self.status.updated_at.ns, self.status.runs

    def weighed(self) -> Sighting:
        """A copy with its weight: its approximate size in memory."""
        return self._replace(weight=1000 + 4 * len(str(self.status)) + len(self.report or b""))


class Sightings:
    """Finishes that are not committed yet, by workspace, oldest first.

    The limit is 1 MiB per workspace and 8 MiB in all; beyond that workspaces of the heaviest root lose their reports,
    then their finishes: first those whose finishes are recorded already, then the heaviest.
    """

    def __init__(self) -> None:
        self._seen: dict[Key, dict[Identity, Sighting]] = {}
        self._directories: dict[tuple[int, int], Key] = {}
        self._weights: dict[Key, int] = {}
        self._weight = 0
        self._losses: dict[Key, bool] = {}

    def keep(self, candidate: Candidate, one: Sighting) -> None:
        """Keep a finish. It replaces an earlier sighting of the same commit, also under a former name of the same
        directory."""
        key = candidate.key
        self.discard_moved(candidate, one.inode, one.status)
        self._remove(key, one.identity)
        one, had = one.weighed(), self._weights.get(key, 0)
        if had + one.weight > _EACH_BYTES:
            one = one._replace(report=None).weighed()
        if len(self._seen.get(key, ())) >= _EACH or had + one.weight > _EACH_BYTES:
            self._lose(key, [one])
            return
        self._add(key, one)
        if self._weight > _ALL_BYTES:
            self._make_room()

    def of(self, candidate: Candidate) -> list[Sighting]:
        """The sightings of a workspace."""
        return list(self._seen.get(candidate.key, {}).values())

    def next_finish(self, candidate: Candidate, now: Identity | None) -> Sighting | None:
        """The oldest finish that the status file no longer holds; `now` is the identity of the current one."""
        for identity, one in self._seen.get(candidate.key, {}).items():
            if identity != now:
                return one
        return None

    def discard(self, candidate: Candidate, identity: Identity) -> None:
        """Drop a finish that is recorded."""
        key = candidate.key
        self._losses.pop(key, None)
        self._remove(key, identity)

    def discard_moved(self, candidate: Candidate, inode: tuple[int, int], status: Status) -> None:
        """Drop a finish that was seen in the same directory under another name and is recorded under this one.

        Only the directory's inode identifies a move within the settle time: several workspaces may have equal statuses.
        """
        key = self._directories.get(inode)
        identity = status.updated_at.ns, status.runs
        if key is None or key == candidate.key:
            return
        if (one := self._seen[key].get(identity)) is not None and one.status == status:
            self._remove(key, identity)

    def keep_roots(self, keys: Collection[str]) -> None:
        """Drop sightings below other roots."""
        for key in [key for key in self._seen if key[0] not in keys]:
            self._remove_all(key)
        self._losses.clear()

    def _add(self, key: Key, one: Sighting) -> None:
        self._seen.setdefault(key, {})[one.identity] = one
        self._directories[one.inode] = key
        self._weights[key] = self._weights.get(key, 0) + one.weight
        self._weight += one.weight

    def _remove(self, key: Key, identity: Identity) -> None:
        here = self._seen.get(key, {})
        if (one := here.pop(identity, None)) is None:
            return
        self._weights[key] -= one.weight
        self._weight -= one.weight
        if not any(other.inode == one.inode for other in here.values()) and self._directories.get(one.inode) == key:
            del self._directories[one.inode]
        if not here:
            del self._seen[key], self._weights[key]

    def _remove_all(self, key: Key) -> None:
        for identity in list(self._seen[key]):
            self._remove(key, identity)

    def _make_room(self) -> None:
        """Free an eighth, so that all workspaces are compared only once in a thousand times."""
        while self._weight > _ALL_BYTES * 7 // 8:
            for key in self._of_heaviest_root():
                self._lighten(key)
                if self._weight <= _ALL_BYTES * 7 // 8:
                    return

    def _of_heaviest_root(self) -> list[Key]:
        by_root = Counter[str]()
        for (root, _), weight in self._weights.items():
            by_root[root] += weight
        ((root, _),) = by_root.most_common(1)
        return sorted((key for key in self._weights if key[0] == root), key=self._expendability, reverse=True)

    def _expendability(self, key: Key) -> tuple[bool, int]:
        return all(one.recorded_names for one in self._seen[key].values()), self._weights[key]

    def _lighten(self, key: Key) -> None:
        here = list(self._seen[key].values())
        self._remove_all(key)
        if any(one.report is not None for one in here):
            for one in here:
                self._add(key, one._replace(report=None).weighed())
        else:
            self._lose(key, here)

    def _lose(self, key: Key, lost: Iterable[Sighting]) -> None:
        if not all(one.recorded_names for one in lost):
            self._losses.setdefault(key, False)

    def take_losses(self) -> list[Key]:
        """The workspaces that lost a finish which is not recorded, each once until one of its finishes is."""
        new = [key for key, is_told in self._losses.items() if not is_told]
        self._losses.update(dict.fromkeys(new, True))
        return new
