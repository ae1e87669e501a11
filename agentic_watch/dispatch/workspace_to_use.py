"""Chooses or creates the workspace of a dispatch: a given one, or `{root}/{org}/{repo}/{slug}-{UTC stamp}`."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections.abc import Sequence

from agentic_watch.config import Root
from agentic_watch.dispatch.run_types import DispatchError, Work
from agentic_watch.workspace import files, instant, layout
from agentic_watch.workspace.candidate import UnknownWorkspace, find
from agentic_watch.workspace.layout import may_enter, name_problem
from agentic_watch.workspace.place import Place, open_place
from agentic_watch.workspace.workspace_errors import WorkspaceError, from_os_error


def choose(roots: Sequence[Root], given: str, directory: str) -> tuple[Root, str]:
    """The root and the name below it: an existing workspace, else a new name below the first root.

    `given` is a path, or a name like `org/repo/task`; "" requests a new workspace and stays "".
    """
    if not given:
        return roots[0], ""
    try:
        candidate = find(roots, given, directory)
    except UnknownWorkspace as error:
        if os.path.isabs(given) or any(os.path.isdir(os.path.join(root.path, given)) for root in roots):
            raise DispatchError(str(error)) from error
        return roots[0], given.rstrip("/")
    return candidate.root, candidate.name


def choose_existing(roots: Sequence[Root], given: str, directory: str) -> tuple[Root, str]:
    """The root and the name of an existing workspace. Raises DispatchError when there is none."""
    try:
        candidate = find(roots, given, directory)
    except UnknownWorkspace as error:
        raise DispatchError(str(error)) from error
    return candidate.root, candidate.name


_SLUG_LENGTH = 40
_LOOKED_AT = 1000
"""Directory entries examined to find workspaces below a directory, which may be any large one."""
DIRECTORY_MODE = 0o777
"""Less umask: a group of agents, or a default ACL, decides who else may write there."""
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_UNFIT_IN_SLUG = re.compile(r"[^a-z0-9]+")


def slug(text: str) -> str:
    """Convert a text to a part of a directory name: at most 40 lower-case ASCII letters, digits and dashes."""
    plain = text[:1000]
    if not plain.isascii():
        import unicodedata

        plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
    return _UNFIT_IN_SLUG.sub("-", plain.lower()).strip("-")[:_SLUG_LENGTH].strip("-")


def above(work: Work) -> str:
    """The parent directories of a new workspace: `org/repo`, with placeholders for unknown parts."""
    return f"{_component(work.org) or 'local'}/{_component(work.repo) or 'scratch'}"


def _component(text: str) -> str:
    # A leading dot would hide it, or be `.git`, which is never entered.
    return _UNFIT.sub("-", text).strip("-").lstrip(".")[:100]


def make_new(root: Root, work: Work) -> tuple[str, Place]:
    """Create a new workspace durably; returns its name and the open place."""
    base = f"{slug(work.task or work.command) or 'task'}-{instant.stamp()}"
    for number in itertools.count(1):
        name = f"{above(work)}/{base}" if number == 1 else f"{above(work)}/{base}-{number}"
        try:
            return name, _made(root, name, new=True)
        except files.NameTaken:
            continue
    raise AssertionError


def open_or_make(root: Root, name: str) -> Place:
    """Open the workspace `name` below a root, creating it if necessary."""
    return _made(root, name, new=False)


def open_existing(root: Root, name: str) -> Place:
    """Open the workspace `name` below a root. Raises Missing when it does not exist."""
    _check(name)
    return open_place(root.path, name)


def opened(root: Root, name: str) -> Place | None:
    """The workspace, held open so that `name_now` finds it wherever it is moved; None if it is gone."""
    try:
        return open_existing(root, name)
    except (WorkspaceError, OSError):
        return None


def name_now(place: Place, root: Root) -> str:
    """The name that an open workspace has now, "" if it was removed or moved out of the root."""
    try:
        path = os.readlink(f"/proc/self/fd/{place.directory}")
    except OSError:
        return ""
    below = os.path.join(os.path.realpath(root.path), "")
    return path.removeprefix(below) if path.startswith(below) and os.path.isdir(path) else ""


def _made(root: Root, name: str, *, new: bool) -> Place:
    _check(name)
    os.makedirs(root.path, exist_ok=True)
    try:
        current = files.open_root(root.path)
    except OSError as error:
        raise from_os_error(root.path, error) from error
    components = name.split("/")
    try:
        for depth, base in enumerate(components, 1):
            path = "/".join(components[:depth])
            last = depth == len(components)
            _check_findable(root, current, base, path, last=last)
            inner = files.make_directory(current, base, path, new=new and last, mode=DIRECTORY_MODE)
            os.close(current)
            current = inner
        if not new:
            _check_hides_none(root, current, name)
        return Place(current, files.make_directory(current, layout.META, layout.META, mode=DIRECTORY_MODE))
    except BaseException:
        os.close(current)
        raise


def _check(name: str) -> None:
    cause = name_problem(name)
    if not name or any(part in ("", ".", "..") for part in name.split("/")):
        cause = "the name is not a path below the root"
    if cause:
        raise DispatchError(f"{name!r}: {cause}; name the workspace like org/repo/task")


def _check_findable(root: Root, parent: int, base: str, path: str, *, last: bool) -> None:
    """Raise for a place where no scan would find the workspace, before anything runs in it."""
    depth = path.count("/") + 1
    if not may_enter(root, base, path, depth, beside_workspace_files=False):
        raise DispatchError(
            f"{path}: is a directory that is never entered below {root.path} (max_depth, ignore, or its name); "
            "choose another with --workspace NAME"
        )
    if not last and layout.status_files(parent, f"{base}/", root, depth) is not None:
        raise DispatchError(f"{path}: is a workspace, which cannot contain another one; choose another name")


def _check_hides_none(root: Root, directory: int, name: str) -> None:
    """Raise for a directory above other workspaces: a status file would make it a workspace, and hide those below."""
    depth = name.count("/") + 1
    if layout.status_files(directory, "", root, depth) is None and (
        inner := _first_below(root, directory, name, depth)
    ):
        raise DispatchError(
            f"{name}: holds the workspace {inner}, which would not be found any more; choose a name like org/repo/task"
        )


def _first_below(root: Root, directory: int, name: str, depth: int, levels: int = 2) -> str:
    """The first workspace found below a directory such as `{org}` or `{org}/{repo}`; "" for none."""
    depth += 1
    for base in sorted(files.names(directory, _LOOKED_AT, name)[0]):
        path = f"{name}/{base}"
        if not may_enter(root, base, path, depth, beside_workspace_files=False):
            continue
        with contextlib.suppress(WorkspaceError, OSError):  # a file, or an unreadable directory
            inner = files.open_directory(directory, base, path)
            try:
                if layout.status_files(inner, "", root, depth) is not None:
                    return path
                if levels > 1 and (found := _first_below(root, inner, path, depth, levels - 1)):
                    return found
            finally:
                os.close(inner)
    return ""
