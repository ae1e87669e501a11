"""What is there? Finds workspaces below a root, by descriptor, without reading a file.

An unchanged workspace costs three stats: its two possible status files and its marker.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from agentic_watch.config import Root
from agentic_watch.workspace import files, layout
from agentic_watch.workspace.errors import Missing, WorkspaceError
from agentic_watch.workspace.layout import Candidate


@dataclass(frozen=True, slots=True)
class Trouble:
    """A directory that could not be looked into: `name` is its path below the root."""

    root: Root
    name: str
    cause: str


class RootUnavailable(Exception):
    """The root cannot be opened: not there (yet), not mounted, or not permitted."""

    def __init__(self, root: Root, cause: str) -> None:
        super().__init__(f"{root.path}: {cause}")
        self.root = root
        self.cause = cause


def scan(root: Root) -> Iterator[Candidate | Trouble]:
    """Every workspace below a root, in the order of the directories. Raises RootUnavailable."""
    return (found for found in scan_in_steps(root) if found is not None)


def scan_in_steps(root: Root) -> Iterator[Candidate | Trouble | None]:
    """As `scan`, with None for each directory without a find: a place to pause, however large the tree."""
    try:
        top = files.open_root(root.path)
    except OSError as error:
        raise RootUnavailable(root, error.strerror or "cannot be opened") from error
    try:
        yield from inside(root, top, "", beside_workspace_files=False)
    finally:
        os.close(top)


def inside(
    root: Root, directory: int, name: str, *, beside_workspace_files: bool
) -> Iterator[Candidate | Trouble | None]:
    """Every workspace below the open directory `name` ("" is the root), which is none itself."""
    prefix = f"{name}/" if name else ""
    depth = prefix.count("/") + 1
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    inner = prefix + entry.name
                    if layout.may_enter(root, inner, depth, beside_workspace_files):
                        yield from look(root, directory, entry.name, inner)
    except OSError as error:
        yield Trouble(root, name, f"cannot be listed: {error.strerror}")


def look(root: Root, parent: int, base: str, name: str) -> Iterator[Candidate | Trouble | None]:
    """The directory `base` of the open directory `parent`: a workspace, or those below it."""
    depth = name.count("/") + 1
    try:
        found = sight(root, parent, base, name)
        yield found
        if found is not None:
            return
        if depth >= root.max_depth:
            return
        directory = files.open_directory(parent, base, name)
    except Missing:
        return
    except WorkspaceError as error:
        yield Trouble(root, name, error.cause)
        return
    except OSError as error:
        yield Trouble(root, name, f"cannot be looked into: {error.strerror}")
        return
    try:
        beside = layout.exists(directory, layout.META) or layout.exists(directory, layout.STATUS)
        yield from inside(root, directory, name, beside_workspace_files=beside)
    finally:
        os.close(directory)


def sight(root: Root, parent: int, base: str, name: str) -> Candidate | None:
    """The directory `base` of the open directory `parent` as a candidate when it is a workspace, else None.

    Its signature is `.meta/status.json|status.json|commit.json`, each "" when it is not there.
    Raises OSError when the directory cannot be looked into.
    """
    found = layout.status_files(parent, f"{base}/", root, name.count("/") + 1)
    if found is None:
        return None
    stats = "|".join(files.signature(info) if info is not None else "" for info in found)
    marker = files.stat_signature(parent, f"{base}/{layout.META_MARKER}")
    changed_at = max(info.st_ctime for info in found if info is not None)
    return Candidate(root, name, f"{stats}|{marker}", changed_at)
