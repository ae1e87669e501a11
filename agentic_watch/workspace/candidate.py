"""What is looked for and handed on: a workspace, by its root and name."""

from __future__ import annotations

from typing import NamedTuple

from agentic_watch.config import Root
from agentic_watch.workspace.unwritten_end import End


class Candidate(NamedTuple):
    """A workspace that may have something to commit.

    `name` is its path below the root, with `/`. `signature` is what its status files and marker had when it
    was seen (scan/look.py; b"" when unknown), `changed_at` the newest ctime of its status files in seconds since
    the epoch. `end` is how its run is over by what this host knows, should its status not say so.
    """

    root: Root
    name: str
    signature: bytes = b""
    changed_at: float = 0.0
    end: End | None = None
