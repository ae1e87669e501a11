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
    """Whether the workspace `former` is the one that this is now; `keys` are commits that the journal has in its name.

    Where the history has one of these commits here already, it is, whatever stands under the former name by now.
    Else that must have gone; what the history knows of it must be among these commits, and not be somewhere else: an
    agent could write any name into its journal. Raises HistoryError.
    """
    root = candidate.root
    if not _is_name(former, root.max_depth):
        return False
    known = identities.places(history, root.key, former, keys, here=candidate.name)
    if candidate.name in known:
        return True
    if is_there(candidate, former):
        return False
    if not known:
        return not identities.has_any(history, root.key, former)
    return not any(is_there(candidate, place) for place in known - {former})


def may_be(candidate: Candidate, former: str) -> bool:
    """Whether the workspace `former` may be the one that this is now, as far as the disk can tell: it has gone."""
    return _is_name(former, candidate.root.max_depth) and not is_there(candidate, former)


def take_down(candidate: Candidate, former: str, keys: Collection[Key], history: History, *, recovered: bool) -> None:
    """Note in the history where these commits are now; with `recovered` rows of the former name are new.

    Raises HistoryError.
    """
    root = candidate.root.key
    places = identities.places(history, root, former, keys, here=candidate.name)
    if recovered:
        places.add(former)
    if places - {candidate.name}:
        identities.move(history, root, former, places, candidate.name)


def is_there(candidate: Candidate, name: str) -> bool:
    """Whether the directory of another workspace of the same root is there; in doubt it is."""
    try:
        open_place(candidate.root.path, name).close()
    except Missing:
        return False
    except WorkspaceError:
        return True
    return True


def inode_of(candidate: Candidate, name: str) -> tuple[int, int] | None:
    """Which directory another workspace of the same root is (Place.inode), None when nobody can tell."""
    try:
        place = open_place(candidate.root.path, name)
    except WorkspaceError:
        return None
    try:
        return place.inode
    finally:
        place.close()


def has_come_back(candidate: Candidate, keys: Collection[Key], history: History) -> None:
    """Take down that a workspace is under its own name again, when the place is gone to which it was moved; `keys` are
    commits that its journal has in its name. Raises HistoryError."""
    root, name = candidate.root.key, candidate.name
    former = identities.places(history, root, name, keys, here=name) - {name}
    if gone := {place for place in former if not is_there(candidate, place)}:
        identities.move(history, root, name, gone, name)


def _is_name(name: str, max_depth: int) -> bool:
    parts = name.split("/")
    return name_problem(name) is None and len(parts) <= max_depth and not {"", ".", ".."} & set(parts)
