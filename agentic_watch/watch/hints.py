"""What the watcher tells the daemon: look here. A hint may be wrong or come twice; the files are the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from agentic_watch.config import Root
from agentic_watch.workspace.layout import Candidate


@dataclass(frozen=True, slots=True)
class Hint:
    """Look at one workspace (`candidate`), or at the whole root (None) because of `reason`.

    `told` says that an event of the workspace itself brought the news, not a look at many.
    `read_only` tells of a root whose file system this process may not write to, whoever it is.
    """

    root: Root
    candidate: Candidate | None = None
    reason: str = ""
    told: bool = False
    read_only: bool = False


Announce = Callable[[Candidate, bool], None]
"""Takes a workspace that appeared or changed, and whether an event of its own told so."""


Hints = SimpleQueue[Hint | None]
"""Where hints go; None only wakes the reader. SimpleQueue.put is reentrant: a signal handler may use it."""
