"""Is this a workspace that was moved? Its journal names another one, which is no longer there."""

from __future__ import annotations

from collections.abc import Collection

from agentic_watch.history import identities
from agentic_watch.history.store import History, Key
from agentic_watch.workspace.layout import Candidate
from agentic_watch.workspace.names import name_problem
from agentic_watch.workspace.place import open_place
from agentic_watch.workspace.workspace_errors import Missing, WorkspaceError


def was_moved(candidate: Candidate, former: str, keys: Collection[Key], history: History) -> bool:
    """Whether the workspace `former` is the one that this is now.

    It must have gone. What the history knows of it must be among the commits that the journal tells of in its name
    (`keys`), and not be somewhere else: an agent could write any name into its journal. Raises HistoryError.
    """
    root = candidate.root
    if not _is_name(former, root.max_depth) or is_there(candidate, former):
        return False
    known = identities.places(history, root.key, former)
    if not known:
        return True
    if len(identities.lacking(history, root.key, former, keys)) == len(set(keys)):
        return False
    return not any(is_there(candidate, place) for place in known - {None, candidate.name} if place is not None)


def is_there(candidate: Candidate, name: str) -> bool:
    """Whether the directory of another workspace of the same root is there; in doubt it is."""
    try:
        open_place(candidate.root.path, name).close()
    except Missing:
        return False
    except WorkspaceError:
        return True
    return True


def _is_name(name: str, max_depth: int) -> bool:
    parts = name.split("/")
    return name_problem(name) is None and len(parts) <= max_depth and not {"", ".", ".."} & set(parts)
