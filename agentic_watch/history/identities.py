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
    """The row of a commit: when it was committed, whether its texts are those asked for, and the workspace that it
    was committed in, which may have been moved since."""

    committed_at: str
    is_same: bool
    workspace: str


_ASKED = tuple(f.name for f in fields(Asked))
_values = attrgetter(*_ASKED)
_SAME = "held.status = asked.status AND held.task = asked.task AND held.question = asked.question"


def held(history: History, root: str, asked: Sequence[Asked]) -> dict[str, Held]:
    """By workspace, the rows of those that the history holds, under its name or a former one. Raises HistoryError."""
    rows = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(asked))
    by_name, by_former_name = (
        f"SELECT asked.workspace, held.committed_at, {_SAME}, held.workspace "
        f"FROM asked CROSS JOIN dispatch_history AS held ON held.root = ? AND held.{column} = asked.workspace "
        "AND held.updated_utc = asked.updated_utc AND held.runs = asked.runs"
        for column in ("workspace", "moved_to")
    )
    sql = f"WITH asked ({', '.join(_ASKED)}) AS (VALUES {rows}) {by_former_name} UNION ALL {by_name}"
    values = [value for one in asked for value in _values(one)]
    with history.reading() as connection:
        found = connection.execute(sql, (*values, root, root)).fetchall()
    return {workspace: Held(at, bool(same), where) for workspace, at, same, where in found}


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


def pruned_before(history: History) -> str:
    """Until when the history was pruned, as `updated_utc` is written; "" when it never was. Raises HistoryError."""
    with history.reading() as connection:
        return str(connection.execute("SELECT ifnull(max(pruned_before), '') FROM about").fetchone()[0])


def places(history: History, root: str, workspace: str) -> set[str | None]:
    """Where the history believes the commits of a workspace to be: other names, None for its own; empty when it holds
    none. Raises HistoryError."""
    sql = "SELECT DISTINCT moved_to FROM dispatch_history WHERE root = ? AND workspace = ?"
    with history.reading() as connection:
        return {place for (place,) in connection.execute(sql, (root, workspace))}


def move(history: History, root: str, workspace: str, to: str) -> None:
    """Take down that a workspace has another name now; its commits keep their identity. Raises HistoryError."""
    sql = "UPDATE dispatch_history SET moved_to = ? WHERE root = ? AND workspace = ? AND moved_to IS NOT ?"
    with history.transaction() as connection:
        connection.execute(sql, (to, root, workspace, to))
