"""Identifies a workspace by root and name, and resolves the path or name that a user gives."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from agentic_watch.config import Root
from agentic_watch.workspace.ghost_record import GhostRun
from agentic_watch.workspace.layout import no_workspace

Key = tuple[str, str]
"""(root's key, workspace's name)."""


class Candidate(NamedTuple):
    """A workspace that may have something to commit.

    `name` is its path below the root, with `/`. `signature` is that of its status files and marker when it was found
    (scan/walk.py; b"" when unknown), `changed_at` the newest ctime of its status files in seconds since the epoch.
    `end` is set when its run is a ghost: it ended without a final status.
    """

    root: Root
    name: str
    signature: bytes = b""
    changed_at: float = 0.0
    end: GhostRun | None = None

    @property
    def key(self) -> Key:
        """The unique key of the workspace among all roots."""
        return self.root.key, self.name


class UnknownWorkspace(Exception):
    """The given name matches no workspace below the configured roots, or cannot be one."""


class NotThere(UnknownWorkspace):
    """No directory has the name now, but one may be created later."""


def here() -> str:
    """The current directory; "" when it was removed, as under a hook that outlives its worktree."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def find(roots: Sequence[Root], given: str, directory: str) -> Candidate:
    """The candidate that `given` names: a path (absolute, or relative to `directory`) or a name below a root.

    With an empty `directory`, a relative path is only a name. Only text is compared and no symlink below a root is
    followed; the commit opens the files safely. Raises UnknownWorkspace when it is below no root or below several, or
    where a scan would find no workspace.
    """
    candidate = _named(roots, given, directory)
    if refused := no_workspace(candidate.root, candidate.name):
        cause, meant = refused
        hint = f"; did you mean {os.path.join(candidate.root.path, meant)}?" if meant else ""
        raise UnknownWorkspace(f"{given}: is no workspace, {cause}{hint}")
    return candidate


def expected(roots: Sequence[Root], given: str, directory: str) -> tuple[Candidate, ...]:
    """Like `find`, but while the workspace does not exist, all candidates that `given` may name once it is created.

    Raises UnknownWorkspace when none of them can be a workspace.
    """
    try:
        return (find(roots, given, directory),)
    except NotThere as error:
        refusal: UnknownWorkspace = error
    path, name = os.path.normpath(os.path.join(directory, given)), os.path.normpath(given)
    there = _at(roots, path) if os.path.isabs(path) else None
    places = [there] if there is not None else []
    if not os.path.isabs(given) and name.split("/")[0] not in ("..", "."):
        places += [Candidate(root, name) for root in roots]
    found = {(place.root.path, place.name): place for place in places if no_workspace(place.root, place.name) is None}
    if not found:
        raise refusal
    return tuple(found.values())


def _named(roots: Sequence[Root], given: str, directory: str) -> Candidate:
    path = os.path.normpath(os.path.join(directory, given))
    if os.path.isabs(path):
        if (os.path.isabs(given) or os.path.lexists(path)) and (candidate := _at(roots, path)) is not None:
            return candidate
        if any(os.path.realpath(path) == os.path.realpath(root.path) for root in roots):
            raise UnknownWorkspace(f"{given}: is a root, not a workspace")
    name = os.path.normpath(given)
    if os.path.isabs(given) or name.split("/")[0] in ("..", "."):
        raise NotThere(f"{given}: not found below any root ({_list(roots)})")
    here = [root for root in roots if os.path.isdir(os.path.join(root.path, name))]
    if len(here) > 1:
        raise UnknownWorkspace(f"{given}: is in several roots ({_list(here)}); give the whole path")
    if not here:
        raise NotThere(f"{given}: not found below any root ({_list(roots)})")
    return Candidate(here[0], name)


def _at(roots: Sequence[Root], path: str) -> Candidate | None:
    """The candidate at an absolute path, with symlinks in the root's own path resolved; None outside all roots."""
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    for root in roots:
        for base in (root.path, os.path.realpath(root.path)):
            for spelled in (path, real):
                if spelled.startswith(base.rstrip("/") + "/"):
                    return Candidate(root, os.path.relpath(spelled, base))
    return None


def _list(roots: Sequence[Root]) -> str:
    return ", ".join(root.path for root in roots)
