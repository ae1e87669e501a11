"""One look over a root, compared with the index: what is there that must be read?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agentic_watch.config import Root
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.scan import Trouble, scan_in_steps
from agentic_watch.workspace.layout import Candidate


@dataclass(slots=True)
class Counts:
    """Workspaces that a rescan saw so far, and at its end those of them that it passed over, unchanged since they were
    last read."""

    scanned: int = 0
    committed: int = 0
    unfinished: int = 0


def rescan(
    root: Root, last_seen: LastSeen, finished: frozenset[str], counts: Counts, *, two_processes: bool = False
) -> Iterator[Candidate | Trouble | None]:
    """Yield the workspaces of a root that changed or are failing, and the directories that could not be looked into.

    None is yielded where there is nothing to do: a place to pause. When all is seen, the index forgets what
    has vanished. `two_processes` as in scan_in_steps. Raises RootUnavailable.
    """
    known = last_seen.known(root.key, finished)
    there, unfinished = known.signatures, known.unfinished
    may_have_ghosts = bool(unfinished)
    whole, changed = True, 0
    for found in scan_in_steps(root, there, two_processes=two_processes):
        if isinstance(found, int):
            counts.scanned += found
            yield None
            continue
        if isinstance(found, Candidate):
            counts.scanned += 1
            changed += 1
            unfinished.discard(found.name)
        else:
            whole = False
        yield found
    unfinished.difference_update(there)
    counts.unfinished = len(unfinished)
    counts.committed = counts.scanned - changed - counts.unfinished
    # A directory that could not be listed may hide workspaces that are still there.
    if whole:
        last_seen.forget((root.key, name) for name in there)
    if may_have_ghosts:
        last_seen.refresh_ghosts(root.key)
