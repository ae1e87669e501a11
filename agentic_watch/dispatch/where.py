"""Which root and which workspace a dispatcher means by what it was given."""

from __future__ import annotations

import os
from collections.abc import Sequence

from agentic_watch.config import Root
from agentic_watch.dispatch.runs import DispatchError
from agentic_watch.workspace.find import UnknownWorkspace, find


def choose(roots: Sequence[Root], given: str, directory: str) -> tuple[Root, str]:
    """The root and the name below it: what is there already, else a new name below the first root.

    `given` is a path, or a name like `org/repo/task`; "" wants a new workspace, and stays "".
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
    """The root and the name of a workspace that is there. Raises DispatchError when none is."""
    try:
        candidate = find(roots, given, directory)
    except UnknownWorkspace as error:
        raise DispatchError(str(error)) from error
    return candidate.root, candidate.name
