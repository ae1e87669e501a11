"""Which of these commits does the history hold, and what do their rows say? Only those are asked for that somebody has
in hand."""

from __future__ import annotations

import functools
import os
import sqlite3
from collections.abc import Collection, Sequence
from itertools import chain
from typing import NamedTuple

from agentic_watch.config import Root
from agentic_watch.history import pruned
from agentic_watch.history.columns import USED_COLUMNS
from agentic_watch.history.store import History, marks
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.status import Status

Key = tuple[str, int]
"""(`updated_utc`, `runs`): a row's identity within its workspace."""


class Lookup(NamedTuple):
    """A commit that is asked for, and the texts that should be those of its row.

    `started_utc` is as in dispatch_history, None when unset. The last five and `task` tell one dispatch from another
    of the same identity.
    """

    workspace: str
    updated_utc: str
    runs: int
    status: str
    question: str
    task: str
    started_utc: str | None
    org: str
    repo: str
    agent: str
    branch: str

    @property
    def dispatch(self) -> tuple[object, ...]:
        """Its identity and what tells it from another dispatch of the same one, without a workspace."""
        return self.updated_utc, self.runs, self.task, *self[6:]


def lookup_of(workspace: str, said: Status | Record) -> Lookup:
    """What the history is asked for the row of a status or a line, under the name of this workspace."""
    started = said.started_at.utc_if_set()
    of_dispatch = said.task, started, said.org, said.repo, said.agent, said.branch
    return Lookup(workspace, said.updated_at.utc(), said.runs, said.status, said.question, *of_dispatch)


class ExistingRow(NamedTuple):
    """The row of a commit: when it was committed, the workspace that it was committed in, where that was seen last
    (None: there), and whether its texts are those asked for.

    `is_dispatch` says that it is the same dispatch, `is_same` that it says the same of how that ended.
    """

    id: int
    root: str
    workspace: str
    moved_to: str | None
    committed_at: str
    is_dispatch: bool
    is_same: bool


# What a row says may hold a secret still, or lack more than what is taken out now: only what differs is looked at so.
_IS_SAME = "(held.{0} = asked.{0} OR is_same_text(held.{0}, asked.{0}))"
_DISPATCH = "held.started_utc IS asked.started_utc" + "".join(
    f" AND {_IS_SAME.format(name)}" for name in ("org", "repo", "task", "agent", "branch")
)
_SAME = f"held.status = asked.status AND {_IS_SAME.format('task')} AND {_IS_SAME.format('question')}"
_HELD = f"held.id, held.root, held.workspace, held.moved_to, held.committed_at, {_DISPATCH}, {_SAME}"
_IDENTITY = "held.updated_utc = asked.updated_utc AND held.runs = asked.runs"

_IN_ROOTS = f"SELECT asked.n, {_HELD} FROM asked CROSS JOIN roots CROSS JOIN dispatch_history AS held"
_IN_ROOT = f"SELECT asked.n, {_HELD} FROM asked CROSS JOIN dispatch_history AS held"
# Not by the index of repositories: a large one may share Go's zero time.
_SAME_COMMIT = f"{_IDENTITY} AND +({_DISPATCH})"

_NAMED = f"{_IN_ROOTS} ON held.root = roots.root AND held.workspace = asked.workspace AND {_IDENTITY}"
_CAME = (
    f"{_IN_ROOTS} ON held.root = roots.root "
    f"AND held.moved_to = iif(roots.root = ?, asked.workspace, ? || asked.workspace) AND {_SAME_COMMIT}"
)


@functools.cache
def _with_asked(count: int) -> str:
    rows = ", ".join(f"({number}, {marks(Lookup._fields)})" for number in range(count))
    return f"WITH asked (n, {', '.join(Lookup._fields)}) AS (VALUES {rows})"


def held(history: History, root: Root, asked: Sequence[Lookup]) -> tuple[dict[str, ExistingRow], str]:
    """By workspace, the rows that were made there, or whose workspace is there now; and until when the history was
    pruned (pruned.before). Texts may also be the same but for secrets (History.is_same). Raises HistoryError."""
    made = f"{_IN_ROOT} ON held.root = ? AND held.workspace = asked.workspace AND {_IDENTITY}"
    values = root.key, os.path.join(root.path, ""), root.key
    with history.reading() as connection:
        found = _rows(connection, f"{_CAME} UNION ALL {made}", asked, *values) if asked else ()
        return {asked[number].workspace: ExistingRow(*row) for number, *row in found}, pruned.before(connection)


def told(history: History, root: Root, name: str, asked: Sequence[Lookup]) -> list[tuple[int, ExistingRow]]:
    """The rows of these commits, of which the records of one workspace tell, with the number of each in `asked`: made
    under the name asked for, in any root; made in this workspace (`name` below `root`); or of one that is there now.

    Raises HistoryError.
    """
    made = f"{_IN_ROOT} ON held.root = ? AND held.workspace = ? AND {_SAME_COMMIT}"
    came = f"{_IN_ROOTS} ON held.root = roots.root AND held.moved_to = iif(roots.root = ?, ?, ?) AND {_SAME_COMMIT}"
    values = root.key, name, root.key, name, os.path.join(root.path, name)
    with history.reading() as connection:
        found = _rows(connection, f"{_NAMED} UNION ALL {made} UNION ALL {came}", asked, *values)
        return [(number, ExistingRow(*row)) for number, *row in found]


def anywhere(history: History, root: Root, asked: Sequence[Lookup]) -> list[tuple[int, ExistingRow]]:
    """The rows of these commits, with the number of each in `asked`: made under the name asked for, in any root, or of
    a workspace below `root` that has that name now. Texts are compared as by `held`. Raises HistoryError."""
    with history.reading() as connection:
        found = _rows(connection, f"{_NAMED} UNION ALL {_CAME}", asked, root.key, os.path.join(root.path, ""))
        return [(number, ExistingRow(*row)) for number, *row in found]


def _rows(connection: sqlite3.Connection, sql: str, asked: Sequence[Lookup], *values: str) -> sqlite3.Cursor:
    """For each row the number of the one asked for, and the values of an ExistingRow."""
    return connection.execute(f"{_with_asked(len(asked))} {sql}", (*chain.from_iterable(asked), *values))


def pruned_before(history: History) -> str:
    """Until when the history was pruned, as `updated_utc` is written; "" when it never was. Raises HistoryError."""
    with history.reading() as connection:
        return pruned.before(connection)


def committed(history: History, root: str, workspaces: Sequence[str]) -> dict[str, dict[Key, str]]:
    """All commits that the history holds of these workspaces, also under a former name: workspace → identity →
    committed_at. Raises HistoryError."""
    sql = " UNION ALL ".join(
        f"SELECT {name}, updated_utc, runs, committed_at FROM dispatch_history "
        f"WHERE root = ?1 AND {name} IN ({numbered})"
        for numbered in [", ".join(f"?{number}" for number in range(2, len(workspaces) + 2))]
        for name in ("moved_to", "workspace")
    )
    found: dict[str, dict[Key, str]] = {}
    with history.reading() as connection:
        for workspace, utc, runs, at in connection.execute(sql, (root, *workspaces)):
            found.setdefault(workspace, {})[utc, runs] = at
    return found


def has_any(history: History, root: str, workspace: str) -> bool:
    """Whether the history holds a commit that was made under a workspace's name. Raises HistoryError."""
    sql = "SELECT 1 FROM dispatch_history WHERE root = ? AND workspace = ? LIMIT 1"
    with history.reading() as connection:
        return connection.execute(sql, (root, workspace)).fetchone() is not None


def move(history: History, ids: Collection[int], to: str | None) -> None:
    """Note where the workspaces of these rows were seen last (None: where they were committed); the rows keep their
    identity. What a power cut takes of it is noted again. Raises HistoryError.
    """
    with history.transaction(durable=False) as connection:
        sql = f"UPDATE dispatch_history SET moved_to = ? WHERE id IN ({marks(list(ids))})"
        connection.execute(sql, (to, *ids))


# --- for who waits for named workspaces

_NAMES_AT_ONCE = 400


class NamedRow(NamedTuple):
    """What a row says of how a dispatch ended. `moved_to` is None where its workspace was seen last under its name;
    `started_utc` is None when unset."""

    id: int
    commit_id: str | None
    root: str
    workspace: str
    moved_to: str | None
    status: str
    question: str
    runs: int
    updated_at: str
    updated_utc: str
    started_utc: str | None
    committed_at: str


_NAMED_COLUMNS = ", ".join(NamedRow._fields)


def of_workspaces(connection: sqlite3.Connection, root: str, names: Sequence[str]) -> dict[str, list[NamedRow]]:
    """By name, the rows of workspaces below the root with this key, also of those that were moved there from another
    name (a moved one's `moved_to` is an absolute path when it is of another root: such a path may be asked for)."""
    found: dict[str, list[NamedRow]] = {}
    for start in range(0, len(names), _NAMES_AT_ONCE):
        some = names[start : start + _NAMES_AT_ONCE]
        for name in ("workspace", "moved_to"):
            sql = f"SELECT {name}, {_NAMED_COLUMNS} FROM dispatch_history WHERE root = ? AND {name} IN ({marks(some)})"
            for asked, *row in connection.execute(sql, (root, *some)):
                found.setdefault(asked, []).append(NamedRow(*row))
    return found


# --- what a run used

# Of the run's commits those that were inserted no later: so that all of them together add what the newest one says,
# whatever order they come in and however many come in one transaction.
_NEWEST_TWO = f"""
SELECT updated_utc, {", ".join(USED_COLUMNS)} FROM dispatch_history
WHERE root = ? AND workspace = ? AND runs = ? AND started_utc IS ? AND id <= (
    SELECT id FROM dispatch_history WHERE root = ? AND workspace = ? AND updated_utc = ? AND runs = ?)
ORDER BY updated_utc DESC LIMIT 2"""


def added_usage(
    connection: sqlite3.Connection, place: tuple[str, str], run: tuple[int, str | None], updated_utc: str, most: int
) -> dict[str, int]:
    """By each of USED_COLUMNS what the commit adds: completed, later merged, a run is committed twice with the same
    numbers. {} for one that the history has not, or not as the newest of its run.

    `place` is (root, workspace), `run` (runs, started_utc). At most `most` of each is taken for what a run used: an
    agent may report any number. Never negative: a counter only grows.
    """
    runs, started_utc = run
    found = connection.execute(_NEWEST_TWO, (*place, runs, started_utc, *place, updated_utc, runs)).fetchall()
    if not found or found[0][0] != updated_utc:
        return {}
    now = found[0][1:]
    before = found[1][1:] if len(found) > 1 else (None,) * len(USED_COLUMNS)
    return {
        name: max(0, min(mine or 0, most) - min(earlier or 0, most))
        for name, mine, earlier in zip(USED_COLUMNS, now, before, strict=True)
    }
