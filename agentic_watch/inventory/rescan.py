"""One look over a root, compared with the index: what is there that must be read?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agentic_watch.config import Root
from agentic_watch.history.workspaces_table import RootIndex
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.scan import LeftAlone, ScanError, scan_in_steps
from agentic_watch.scan.walk import WHOLE, Share
from agentic_watch.workspace.candidate import Candidate


@dataclass(slots=True)
class Counts:
    """Workspaces that a rescan saw so far, and at its end those of them that it passed over, unchanged since they were
    last read."""

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
    """Yield the workspaces of a root that changed or are failing, and the directories that could not be looked into.

    None is yielded where there is nothing to do: a place to pause. When all is seen, the index forgets what
    has vanished, but nothing below a directory that could not be looked into. Only workspaces of the `share` are seen,
    or forgotten. Raises RootUnavailable.
    """
    known = RootIndex()
    for _ in last_seen.load(root.key, finished, known):
        yield None
    there, unfinished = known.signatures, set(filter(share.has, known.unfinished))
    hidden: set[str] = set()
    changed = 0
    failed = {name for key, name in last_seen.failing if key == root.key}  # also those that have no row
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
    """Whether a name is one of these directories, or below one: it may still be there."""
    while hidden and name:
        if name in hidden:
            return True
        name = name.rpartition("/")[0]
    return False
