"""Which of these commits does the history hold? Only those are asked for that somebody has in hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

from agentic_watch.history.store import History, Key


@dataclass(frozen=True, slots=True)
class Asked:
    """A commit that is asked for, and the texts that should be those of its row."""

    workspace: str
    updated_utc: str
    runs: int
    status: str
    task: str
    question: str


@dataclass(frozen=True, slots=True)
class Held:
    """The row of a commit: when it was committed, and whether its texts are those asked for."""

    committed_at: str
    is_same: bool


_ASKED = tuple(f.name for f in fields(Asked))
_values = attrgetter(*_ASKED)
_SAME = "held.status = asked.status AND held.task = asked.task AND held.question = asked.question"


def held(history: History, root: str, asked: Sequence[Asked]) -> dict[tuple[str, Key], Held]:
    """By workspace and identity, the rows of those that the history holds. Raises HistoryError."""
    rows = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(asked))
    sql = (
        f"WITH asked ({', '.join(_ASKED)}) AS (VALUES {rows}) "
        f"SELECT asked.workspace, asked.updated_utc, asked.runs, held.committed_at, {_SAME} "
        "FROM asked CROSS JOIN dispatch_history AS held "
        "ON held.root = ? AND held.workspace = asked.workspace "
        "AND held.updated_utc = asked.updated_utc AND held.runs = asked.runs"
    )
    values = [value for one in asked for value in _values(one)]
    with history.reading() as connection:
        found = connection.execute(sql, (*values, root)).fetchall()
    return {(workspace, (utc, runs)): Held(at, bool(same)) for workspace, utc, runs, at, same in found}


def lacking(history: History, root: str, workspace: str, keys: Collection[Key]) -> set[Key]:
    """Those of one workspace's commits that the history lacks. Raises HistoryError."""
    rows = ", ".join(["(?, ?)"] * len(keys))
    sql = (
        f"WITH asked (updated_utc, runs) AS (VALUES {rows}) "
        "SELECT asked.updated_utc, asked.runs FROM asked CROSS JOIN dispatch_history AS held "
        "ON held.root = ? AND held.workspace = ? AND held.updated_utc = asked.updated_utc AND held.runs = asked.runs"
    )
    values = [value for key in keys for value in key]
    with history.reading() as connection:
        return set(keys) - set(connection.execute(sql, (*values, root, workspace)))
