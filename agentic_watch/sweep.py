"""One look over a root, compared with the index: what is there that must be read?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from agentic_watch.config import Root
from agentic_watch.ledger import Ledger
from agentic_watch.scan import Trouble, scan
from agentic_watch.workspace.layout import Candidate


@dataclass(slots=True)
class Counts:
    """What a sweep passed over: workspaces seen, and those unchanged since they were last read."""

    scanned: int = 0
    committed: int = 0
    unfinished: int = 0


def sweep(
    root: Root, ledger: Ledger, finished: frozenset[str], counts: Counts, *, retry_failing: bool
) -> Iterator[Candidate | Trouble]:
    """Yield the workspaces of a root that changed, and the directories that could not be looked into.

    An unchanged failing one is yielded only when its next attempt is due, or with `retry_failing`.
    When all is seen, the index forgets what has vanished. Raises RootUnavailable.
    """
    known = ledger.known(root.key, finished)
    signatures = known.signatures
    whole = True
    for found in scan(root):
        if isinstance(found, Trouble):
            whole = False
            yield found
            continue
        counts.scanned += 1
        name = found.name
        if signatures.pop(name, "") != found.signature:
            yield found
        elif name in known.failing:
            if retry_failing or known.failing[name][1] <= time.time():
                yield found
        elif name in known.unfinished:
            counts.unfinished += 1
        else:
            counts.committed += 1
    # A directory that could not be listed may hide workspaces that are still there.
    if whole:
        ledger.forget((root.key, name) for name in signatures)
