"""Which directories are never entered when workspaces are looked for, and which can therefore be no workspace."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase

from agentic_watch.config import Root
from agentic_watch.workspace import files, layout
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


def no_workspace(root: Root, name: str) -> tuple[str, str] | None:
    """Why the directory `name` below a root can be no workspace, and the name of the one it belongs to ("" for none).

    None when it can be one. Only a hint from what lies there now: a root that cannot be looked into tells nothing.
    """
    parts = name.split("/")
    above = ["/".join(parts[:depth]) for depth in range(len(parts))]
    for base, parent in zip(parts, above, strict=True):
        if base in _NEVER:
            return f"no workspace lies in {base}", parent
    try:
        directory = files.open_root(root.path)
    except OSError:
        return None
    try:
        for depth, parent in enumerate(above[1:], 1):
            if _holds_one(directory, parent, root, depth, parts[depth]):
                return f"it lies inside of the workspace {parent}", parent
    except OSError:
        return None
    finally:
        os.close(directory)
    return None


def _holds_one(directory: int, parent: str, root: Root, depth: int, base: str) -> bool:
    """Whether `parent` is a workspace, or will be one whose clone is `base`."""
    if base in CLONES and layout.exists(directory, f"{parent}/{META}"):
        return True
    return layout.status_files(directory, f"{parent}/", root, depth) is not None
