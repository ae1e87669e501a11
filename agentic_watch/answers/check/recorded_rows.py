"""What the history holds of workspaces that are looked at: their rows, and those that lines of other names speak of."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from itertools import chain

from agentic_watch.answers.check.parity import Dispatch, RecordedRow, content, dispatch
from agentic_watch.history import queries
from agentic_watch.history.store import Key, marks

HOST = os.uname().nodename
_TEXTS = "d.status, d.task, d.question, d.started_utc, d.org, d.repo, d.task, d.agent, d.branch"
_ASKED_AT_ONCE = 200

Told = tuple[str, str, int]
"""(workspace, updated_utc, runs), as a line or a marker names a commit."""


def rows_of(history: str, root: str, workspaces: Sequence[str]) -> dict[str, dict[Key, RecordedRow]]:
    """By workspace, the rows that were committed under its name, or whose workspace has that name now.

    Raises HistoryError.
    """
    found: dict[str, dict[Key, RecordedRow]] = {}
    with queries.reading(history) as connection:
        for column in ("moved_to", "workspace"):
            sql = (
                f"SELECT d.{column}, d.moved_to, d.host, d.updated_utc, d.runs, {_TEXTS} FROM dispatch_history AS d "
                f"WHERE d.root = ? AND d.{column} IN ({marks(list(workspaces))})"
            )
            for name, moved_to, host, utc, runs, *texts in connection.execute(sql, (root, *workspaces)):
                row = RecordedRow(content(*texts[:3]), dispatch(*texts[3:]), host == HOST, moved_to is None)
                found.setdefault(name, {})[utc, runs] = row
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
