"""What the history holds of the workspaces that are waited for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from agentic_watch.config import Config, Root
from agentic_watch.history import commit_lookup, pruned, queries
from agentic_watch.waiting.awaited_workspace import AwaitedWorkspace, Rows


def rows_of(config: Config, asked: Iterable[AwaitedWorkspace]) -> tuple[Rows, str]:
    """The rows of these workspaces, under each name that they may have, and before when rows were pruned ("": never).

    Raises HistoryError, HistoryRefused.
    """
    rows: Rows = {}
    with queries.reading(config.history) as connection:
        for root, names in _names(config.roots, asked).items():
            found = commit_lookup.of_workspaces(connection, root, sorted(names))
            for name, its in found.items():
                rows.setdefault(("" if os.path.isabs(name) else root, name), []).extend(its)
        return rows, pruned.before(connection)


def _names(roots: Sequence[Root], asked: Iterable[AwaitedWorkspace]) -> dict[str, set[str]]:
    """By root's key, the names to ask for: each place's in its own root, and in all of them its path, under which a row
    has a workspace that was moved there from another root."""
    names: dict[str, set[str]] = {root.key: set() for root in roots}
    for one in asked:
        for place in one.places:
            names.setdefault(place.root.key, set()).add(place.name)
            for of_root in names.values():
                of_root.add(os.path.join(place.root.path, place.name))
    return names
