"""What is looked for and handed on: a workspace, by its root and name.

From what a user typed to a candidate: a path, or a name below a root.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from agentic_watch.config import Root
from agentic_watch.workspace.layout import no_workspace
from agentic_watch.workspace.unwritten_end import UnwrittenEnd

Key = tuple[str, str]
"""(root's key, workspace's name)."""


class Candidate(NamedTuple):
    """A workspace that may have something to commit.

    `name` is its path below the root, with `/`. `signature` is what its status files and marker had when it
    was seen (scan/walk.py; b"" when unknown), `changed_at` the newest ctime of its status files in seconds since
    the epoch. `end` is how its run is over by what this host knows, should its status not say so.
    """

    root: Root
    name: str
    signature: bytes = b""
    changed_at: float = 0.0
    end: UnwrittenEnd | None = None

    @property
    def key(self) -> Key:
        """Which workspace it is, among those of all roots."""
        return self.root.key, self.name


class UnknownWorkspace(Exception):
    """Nothing below the configured roots answers to what was given, or it can be no workspace."""


class NotThere(UnknownWorkspace):
    """Nothing has that name now; something below a root may yet."""


def here() -> str:
    """The current directory, "" when it was removed: a hook may run after the worktree that it was started in."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def find(roots: Sequence[Root], given: str, directory: str) -> Candidate:
    """The candidate that `given` names: a path (absolute, or relative to `directory`) or a name below a root.

    Where there is no directory to begin in ("") a relative one is only a name.
    Only text is compared and no symlink below a root is followed: what is opened is decided by the commit.
    Raises UnknownWorkspace when it is in no root, or in several, or where no scan would find a workspace.
    """
    candidate = _named(roots, given, directory)
    if refused := no_workspace(candidate.root, candidate.name):
        cause, meant = refused
        hint = f"; did you mean {os.path.join(candidate.root.path, meant)}?" if meant else ""
        raise UnknownWorkspace(f"{given}: is no workspace, {cause}{hint}")
    return candidate


def expected(roots: Sequence[Root], given: str, directory: str) -> tuple[Candidate, ...]:
    """The candidate that `given` names, as `find` has it; while there is none, each that it will name once it is there.

    Raises UnknownWorkspace where none of them can be a workspace.
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
    """The candidate at an absolute path, however the root's own path is spelled; None outside of all roots."""
    real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    for root in roots:
        for base in (root.path, os.path.realpath(root.path)):
            for spelled in (path, real):
                if spelled.startswith(base.rstrip("/") + "/"):
                    return Candidate(root, os.path.relpath(spelled, base))
    return None


def _list(roots: Sequence[Root]) -> str:
    return ", ".join(root.path for root in roots)
