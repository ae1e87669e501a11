"""Which of these commits does the history hold? Only those are asked for that somebody has in hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import NamedTuple

from agentic_watch.history import pruned
from agentic_watch.history.store import History, marks


class Asked(NamedTuple):
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


class Held(NamedTuple):
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


_DISPATCH = "held.started_utc IS asked.started_utc" + "".join(
    f" AND held.{name} = asked.{name}" for name in ("org", "repo", "task", "agent", "branch")
)
_SAME = "held.status = asked.status AND held.task = asked.task AND held.question = asked.question"
_HELD = f"held.id, held.root, held.workspace, held.moved_to, held.committed_at, {_DISPATCH}, {_SAME}"
_IDENTITY = "held.updated_utc = asked.updated_utc AND held.runs = asked.runs"

# Each index begins with the root, and there are few: one step of a search for each, instead of a look at all rows.
_ROOTS = (
    "roots (root) AS (SELECT min(root) FROM dispatch_history UNION ALL "
    "SELECT (SELECT min(root) FROM dispatch_history WHERE root > roots.root) FROM roots WHERE roots.root IS NOT NULL)"
)

_BY_FORMER_NAME = (
    f"SELECT asked.n, {_HELD} FROM asked CROSS JOIN dispatch_history AS held "
    f"ON held.root = ? AND held.moved_to = asked.workspace AND {_IDENTITY} AND {_DISPATCH}"
)


def _with_asked(count: int) -> str:
    rows = ", ".join(f"({number}, {marks(Asked._fields)})" for number in range(count))
    return f"WITH RECURSIVE {_ROOTS}, asked (n, {', '.join(Asked._fields)}) AS (VALUES {rows})"


def held(history: History, root: str, asked: Sequence[Asked]) -> dict[str, Held]:
    """By workspace, the rows of those that the history holds, under its name or a former one. Raises HistoryError."""
    by_name = (
        f"SELECT asked.n, {_HELD} FROM asked CROSS JOIN dispatch_history AS held "
        f"ON held.root = ? AND held.workspace = asked.workspace AND {_IDENTITY}"
    )
    found = _select(history, f"{_BY_FORMER_NAME} UNION ALL {by_name}", asked, root, root)
    return {asked[number].workspace: row for number, row in found}


def anywhere(history: History, root: str, asked: Sequence[Asked]) -> list[tuple[int, Held]]:
    """The rows of these commits, with the number of each in `asked`: of any root under the name asked for, of `root`
    also under the name of a workspace that was moved there.

    Raises HistoryError.
    """
    by_name = (
        f"SELECT asked.n, {_HELD} FROM asked CROSS JOIN roots CROSS JOIN dispatch_history AS held "
        f"ON held.root = roots.root AND held.workspace = asked.workspace AND {_IDENTITY}"
    )
    return _select(history, f"{by_name} UNION ALL {_BY_FORMER_NAME}", asked, root)


def _select(history: History, sql: str, asked: Sequence[Asked], *roots: str) -> list[tuple[int, Held]]:
    with history.reading() as connection:
        found = connection.execute(f"{_with_asked(len(asked))} {sql}", (*chain.from_iterable(asked), *roots))
        return [(number, Held(*row)) for number, *row in found]


def content(status: str, task: str, question: str) -> int:
    """The texts that two records of one identity should share, as a number: a task can be a megabyte."""
    return hash((status, task, question))


def pruned_before(history: History) -> str:
    """Until when the history was pruned, as `updated_utc` is written; "" when it never was. Raises HistoryError."""
    with history.reading() as connection:
        return pruned.before(connection)


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
