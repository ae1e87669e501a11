"""Does a directory that says it is a workspace hold others? A status that somebody puts beside the workspaces of an
organisation makes one of their directory, and hides them; whoever deletes it would delete them.
"""

from __future__ import annotations

import os

from agentic_watch.workspace import files, layout
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.layout import may_enter

_DEEPEST = 3
"""Where a status alone makes a workspace (layout.py)."""
_DIRECTORIES_AT_MOST = 10_000


def holds_others(directory: int, candidate: Candidate) -> bool:
    """Whether another workspace lies in the open directory of one, or may: one that holds too many directories to be
    looked into counts as one that does. Raises OSError, WorkspaceError."""
    return _Look(candidate).inside(directory, candidate.name, candidate.name.count("/") + 2)


class _Look:
    """One look into a workspace."""

    def __init__(self, candidate: Candidate) -> None:
        self._root = candidate.root
        self._left = _DIRECTORIES_AT_MOST

    def inside(self, directory: int, name: str, depth: int) -> bool:
        """Whether there is another one at this depth below the root, or deeper."""
        if depth > min(_DEEPEST, self._root.max_depth):
            return False
        with os.scandir(directory) as entries:
            bases = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        for base in bases:
            path = f"{name}/{base}"
            if not may_enter(self._root, base, path, depth, beside_workspace_files=True):
                continue
            self._left -= 1
            if self._left < 0 or layout.status_files(directory, f"{base}/", self._root, depth) is not None:
                return True
            inner = files.open_directory(directory, base, path)
            try:
                if layout.exists(inner, layout.META) or self.inside(inner, path, depth + 1):
                    return True
            finally:
                os.close(inner)
        return False
