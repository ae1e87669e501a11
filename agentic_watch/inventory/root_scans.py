"""Scans whole roots, compared with the index, for workspaces to read. Scans run in slices, so that new finishes need
not wait for their end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain

from agentic_watch.config import Root
from agentic_watch.history.workspaces_table import RootIndex
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.scan import LeftAlone, RootUnavailable, ScanError, scan_in_steps
from agentic_watch.scan.walk import WHOLE, Share
from agentic_watch.workspace.candidate import Candidate

log = logging.getLogger("agentic_watch.daemon")

_SLICE_SECONDS = 0.05
_TROUBLES_AT_MOST = 1000


@dataclass(slots=True)
class Counts:
    """Workspaces that a scan has found so far, and at its end how many of them were unchanged."""

    scanned: int = 0
    committed: int = 0
    unfinished: int = 0


def rescan(
    root: Root,
    last_seen: LastSeen,
    finished: frozenset[str],
    counts: Counts,
    share: Share = WHOLE,
    left_alone: LeftAlone | None = None,
) -> Iterator[Candidate | ScanError | None]:
    """Yield the workspaces of a root that changed or are failing, and the directories that could not be read.

    None is yielded as a point to pause. At the end the index forgets vanished workspaces, except below directories that
    could not be read. Only workspaces of the `share` are examined or forgotten. Raises RootUnavailable.
    """
    known = RootIndex()
    for _ in last_seen.load(root.key, finished, known):
        yield None
    there, unfinished = known.signatures, set(filter(share.has, known.unfinished))
    hidden: set[str] = set()
    changed = 0
    failed = {name for key, name in last_seen.failing if key == root.key}  # including those without a row
    for found in scan_in_steps(root, there, share, left_alone):
        if isinstance(found, int):
            counts.scanned += found
            yield None
            continue
        if isinstance(found, Candidate):
            counts.scanned += 1
            changed += 1
            unfinished.discard(found.name)
            failed.discard(found.name)
        else:
            hidden.add(found.name)
        yield found
    unfinished.difference_update(there)
    counts.unfinished = len(unfinished)
    counts.committed = counts.scanned - changed - counts.unfinished
    if "" not in hidden:  # the root itself
        left = filter(share.has, there.keys() | failed)
        last_seen.forget((root.key, name) for name in left if not _lies_below(name, hidden))


def _lies_below(name: str, hidden: set[str]) -> bool:
    """Whether a name is at or below one of these directories, so that it may still exist."""
    while hidden and name:
        if name in hidden:
            return True
        name = name.rpartition("/")[0]
    return False


@dataclass(slots=True)
class _Scan:
    """A scan in progress: its remaining steps, and the directories that could not be read."""

    found: Iterator[Candidate | ScanError | None]
    troubled: set[str] = field(default_factory=set)
    began: float = field(default_factory=time.monotonic)


class RootScans:
    """At most one scan per root at a time."""

    def __init__(self, last_seen: LastSeen) -> None:
        self._last_seen = last_seen
        self.under_way: dict[str, _Scan] = {}
        """Scans in progress, by the key of the root."""
        self._troubled: dict[str, set[str]] = {}
        self.unreadable: tuple[str, ...] = ()
        """The directories that the last scan of each root could not read."""

    def begin(self, root: Root, finished: frozenset[str], left_alone: LeftAlone | None) -> None:
        """Start a scan of a root, replacing one in progress; directories that `left_alone` excludes are skipped."""
        found = chain(
            rescan(root, self._last_seen, finished, Counts(), left_alone=left_alone), self._last_seen.unended(root)
        )
        self.under_way[root.key] = _Scan(found)

    def stop(self, key: str) -> None:
        """Stop the scan of a root that is gone."""
        self.under_way.pop(key, None)
        self._set_troubled(key, set())

    def keep_roots(self, roots: Iterable[Root]) -> None:
        """Stop all scans; forget unreadable directories of other roots."""
        self.under_way.clear()
        for key in self._troubled.keys() - {root.key for root in roots}:
            self.stop(key)

    def advance(
        self, take: Callable[[Candidate], None], is_news: Callable[[], bool], is_left_alone: Callable[[str], bool]
    ) -> list[tuple[str, float | None]]:
        """Continue the scans for a slice of time, or one step when `is_news`, and pass on what is found. Returns the
        completed roots: key and seconds, None for one that cannot be scanned. Roots that do not answer wait."""
        end = time.monotonic() + _SLICE_SECONDS
        done: list[tuple[str, float | None]] = []
        for key, scan in list(self.under_way.items()):
            if is_left_alone(key):
                continue
            try:
                for found in scan.found:
                    if isinstance(found, ScanError):
                        self._note(key, scan, found)
                    elif found is not None:
                        take(found)
                    if time.monotonic() >= end or is_news():
                        return done
            except RootUnavailable as error:
                log.debug("%s", error)
                del self.under_way[key]
                done.append((key, None))
                continue
            del self.under_way[key]
            self._tell_ended(key, scan.troubled)
            done.append((key, time.monotonic() - scan.began))
        return done

    def _note(self, key: str, scan: _Scan, trouble: ScanError) -> None:
        said = self._troubled.setdefault(key, set())
        if len(scan.troubled) >= _TROUBLES_AT_MOST:
            return
        scan.troubled.add(trouble.name)
        if trouble.name not in said:
            said.add(trouble.name)
            where = trouble.name or trouble.root.path
            extra = {"root": key, "error": trouble.cause}
            log.warning("%s: %s; its subdirectories are skipped", where, trouble.cause, extra=extra)

    def _tell_ended(self, key: str, troubled: set[str]) -> None:
        for name in self._troubled.get(key, set()) - troubled:
            log.info("%s: readable again, or removed", name or key, extra={"root": key})
        self._set_troubled(key, troubled)

    def _set_troubled(self, key: str, names: set[str]) -> None:
        self._troubled[key] = names
        every = ((root, name) for root, troubled in self._troubled.items() for name in troubled)
        self.unreadable = tuple(sorted(f"{root}/{name}" if name else root for root, name in every))
