"""Which directories are never entered when workspaces are looked for."""

from __future__ import annotations

from fnmatch import fnmatchcase

from agentic_watch.config import Root
from agentic_watch.workspace.layout import CLONES, META

_NEVER = frozenset({META, ".git", "node_modules"})
_CLONE_DEPTH = 4


def may_enter(root: Root, base: str, name: str, depth: int, beside_workspace_files: bool) -> bool:
    """Whether the directory `base`, which is `name` relative to the root, at `depth` may be looked into.

    `beside_workspace_files`: its parent holds a `.meta` or a status file, so a clone beside is not ours.
    """
    if depth > root.max_depth or base in _NEVER:
        return False
    if base in CLONES and (depth >= _CLONE_DEPTH or beside_workspace_files):
        return False
    return not root.ignore or not any(fnmatchcase(base, glob) or fnmatchcase(name, glob) for glob in root.ignore)
