"""What the history holds of workspaces that are looked at: their rows, and those that lines of other names speak of."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from itertools import chain

from agentic_watch.answers.check.parity import Dispatch, RecordedRow, content, dispatch
from agentic_watch.config import Root
from agentic_watch.history import queries
from agentic_watch.history.known_roots import ROOTS
from agentic_watch.history.store import Key, marks

HOST = os.uname().nodename
_TEXTS = "d.status, d.task, d.question, d.started_utc, d.org, d.repo, d.task, d.agent, d.branch"
_ASKED_AT_ONCE = 200

Told = tuple[str, str, int]
"""(workspace, updated_utc, runs), as a line or a marker names a commit."""


def rows_of(history: str, root: Root, workspaces: Sequence[str]) -> dict[str, dict[Key, RecordedRow]]:
    """By workspace, the rows that were committed there, or whose workspace is there now. Raises HistoryError."""
    found: dict[str, dict[Key, RecordedRow]] = {}
    names = {os.path.join(root.path, name): name for name in workspaces}
    with queries.reading(history) as connection:
        for known, column, given in (
            ("d.root IN (SELECT root FROM roots)", "moved_to", tuple(names)),
            ("d.root = ?", "moved_to", (root.key, *workspaces)),
            ("d.root = ?", "workspace", (root.key, *workspaces)),
        ):
            sql = (
                f"WITH RECURSIVE {ROOTS} "
                f"SELECT d.{column}, d.moved_to, d.host, d.updated_utc, d.runs, {_TEXTS} FROM dispatch_history AS d "
                f"WHERE {known} AND d.{column} IN ({marks(list(workspaces))})"
            )
            for place, moved_to, host, utc, runs, *texts in connection.execute(sql, given):
                row = RecordedRow(content(*texts[:3]), dispatch(*texts[3:]), host == HOST, moved_to is None)
                found.setdefault(names.get(place, place), {})[utc, runs] = row
    return found


def dispatches_of(history: str, told: Collection[Told]) -> dict[Told, set[Dispatch]]:
    """Of those commits that have a row, under whatever root: which dispatches these are of. Raises HistoryError."""
    found: dict[Told, set[Dispatch]] = {}
    asked = sorted(told)
    with queries.reading(history) as connection:
        for start in range(0, len(asked), _ASKED_AT_ONCE):
            some = asked[start : start + _ASKED_AT_ONCE]
            sql = (
                f"WITH told (workspace, updated_utc, runs) AS (VALUES {', '.join(['(?, ?, ?)'] * len(some))}) "
                f"SELECT d.workspace, d.updated_utc, d.runs, {_TEXTS} FROM told CROSS JOIN dispatch_history AS d "
                "ON d.workspace = told.workspace AND d.updated_utc = told.updated_utc AND d.runs = told.runs"
            )
            for workspace, utc, runs, *texts in connection.execute(sql, tuple(chain.from_iterable(some))):
                found.setdefault((workspace, utc, runs), set()).add(dispatch(*texts[3:]))
    return found
