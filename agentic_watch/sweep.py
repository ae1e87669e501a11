"""One look over a root, compared with the index: what is there that must be read?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agentic_watch.config import Root
from agentic_watch.ledger import Ledger
from agentic_watch.scan import Trouble, scan_in_steps
from agentic_watch.workspace.layout import Candidate


@dataclass(slots=True)
class Counts:
    """What a sweep passed over: workspaces seen, and those unchanged since they were last read."""

    scanned: int = 0
    committed: int = 0
    unfinished: int = 0


def sweep(root: Root, ledger: Ledger, finished: frozenset[str], counts: Counts) -> Iterator[Candidate | Trouble | None]:
    """Yield the workspaces of a root that changed or are failing, and the directories that could not be looked into.

    None is yielded where there is nothing to do: a place to pause. When all is seen, the index forgets what
    has vanished. Raises RootUnavailable.
    """
    known = ledger.known(root.key, finished)
    signatures = known.signatures
    whole = True
    for found in scan_in_steps(root):
        if found is None or isinstance(found, Trouble):
            whole = whole and found is None
            yield found
            continue
        counts.scanned += 1
        name = found.name
        if signatures.pop(name, "") != found.signature or name in known.failing:
            yield found
        else:
            if name in known.unfinished:
                counts.unfinished += 1
            else:
                counts.committed += 1
            yield None
    # A directory that could not be listed may hide workspaces that are still there.
    if whole:
        ledger.forget((root.key, name) for name in signatures)
    ledger.refresh_ghosts(root.key)
