"""Looks up the rows of given commits in the history."""

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
from agentic_watch.history.workspaces_table import IS_ELSEWHERE
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.status import Status

Key = tuple[str, int]
"""(`updated_utc`, `runs`): a row's identity within its workspace."""


class Lookup(NamedTuple):
    """A commit to look up, with the texts that its row should have.

    `started_utc` is as in dispatch_history, None when unset. The last five fields and `task` distinguish dispatches
    with the same identity.
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
    def identity(self) -> Key:
        """The time and run."""
        return self.updated_utc, self.runs

    @property
    def dispatch(self) -> tuple[object, ...]:
        """Its identity and the fields that distinguish dispatches, without the workspace."""
        return *self.identity, self.task, *self[6:]


def lookup_of(workspace: str, said: Status | Record) -> Lookup:
    """The lookup for the row of a status or a line, under the name of this workspace."""
    started = said.started_at.utc_if_set()
    of_dispatch = said.task, started, said.org, said.repo, said.agent, said.branch
    return Lookup(workspace, said.updated_at.utc(), said.runs, said.status, said.question, *of_dispatch)


class ExistingRow(NamedTuple):
    """The row of a commit: when and in which workspace it was committed, where the workspace was seen last (None: in
    the same place), and whether its texts match.

    `is_dispatch`: it is the same dispatch; `is_same`: it also has the same result.
    """

    id: int
    root: str
    workspace: str
    moved_to: str | None
    committed_at: str
    is_dispatch: bool
    is_same: bool


# A row may still contain a secret, or have more redacted than today: texts that differ are compared by `is_same_text`.
# `iif`, because SQLite evaluates both sides of an OR in a result column.
_IS_SAME = "iif(held.{0} = asked.{0}, 1, is_same_text(held.{0}, asked.{0}))"
_DISPATCH = "held.started_utc IS asked.started_utc" + "".join(
    f" AND {_IS_SAME.format(name)}" for name in ("org", "repo", "task", "agent", "branch")
)
_SAME = f"held.status = asked.status AND {_IS_SAME.format('task')} AND {_IS_SAME.format('question')}"
_HELD = f"held.id, held.root, held.workspace, held.moved_to, held.committed_at, {_DISPATCH}, {_SAME}"
_IDENTITY = "held.updated_utc = asked.updated_utc AND held.runs = asked.runs"

_IN_ROOTS = f"SELECT asked.n, {_HELD} FROM asked CROSS JOIN roots CROSS JOIN dispatch_history AS held"
_IN_ROOT = f"SELECT asked.n, {_HELD} FROM asked CROSS JOIN dispatch_history AS held"
# Do not use the index of repositories: many rows of a large one may have Go's zero time.
_SAME_COMMIT = f"{_IDENTITY} AND +({_DISPATCH})"

_NAMED = f"{_IN_ROOTS} ON held.root = roots.root AND held.workspace = asked.workspace AND {_IDENTITY}"
_CAME = (
    f"{_IN_ROOTS} ON held.root = roots.root "
    f"AND held.moved_to = iif(roots.root = ?, asked.workspace, ? || asked.workspace) AND {_SAME_COMMIT}"
)

_ASKED_AT_ONCE = 16
"""Lookups of one statement. Each number of them is a statement of its own, which the connection keeps: one with 256
takes 300 KiB, and 2 ms to prepare."""


@functools.cache
def _with_asked(count: int) -> str:
    rows = ", ".join(f"({number}, {marks(Lookup._fields)})" for number in range(count))
    return f"WITH asked (n, {', '.join(Lookup._fields)}) AS (VALUES {rows})"


def held(history: History, root: Root, asked: Sequence[Lookup]) -> tuple[dict[str, ExistingRow], str]:
    """The rows of each workspace, made under its name or moved to it, and the time of the last prune (pruned.before).
    Texts match also if they differ only in redaction (History.is_same). Raises HistoryError."""
    made = f"{_IN_ROOT} ON held.root = ? AND held.workspace = asked.workspace AND {_IDENTITY}"
    values = root.key, os.path.join(root.path, ""), root.key
    with history.reading() as connection:
        found = _rows(connection, f"{_CAME} UNION ALL {made}", asked, *values)
        return {asked[number].workspace: row for number, row in found}, pruned.before(connection)


def told(history: History, root: Root, name: str, asked: Sequence[Lookup]) -> list[tuple[int, ExistingRow]]:
    """The rows of commits that the records of one workspace name, each with its index in `asked`: rows made under the
    requested name in any root, in this workspace (`name` below `root`), or in one that is here now.

    Raises HistoryError.
    """
    made = f"{_IN_ROOT} ON held.root = ? AND held.workspace = ? AND {_SAME_COMMIT}"
    came = f"{_IN_ROOTS} ON held.root = roots.root AND held.moved_to = iif(roots.root = ?, ?, ?) AND {_SAME_COMMIT}"
    values = root.key, name, root.key, name, os.path.join(root.path, name)
    with history.reading() as connection:
        return _rows(connection, f"{_NAMED} UNION ALL {made} UNION ALL {came}", asked, *values)


def anywhere(history: History, root: Root, asked: Sequence[Lookup]) -> list[tuple[int, ExistingRow]]:
    """The rows of these commits, each with its index in `asked`: made under the requested name in any root, or of a
    workspace below `root` that has the name now. Texts are compared as in `held`. Raises HistoryError."""
    with history.reading() as connection:
        return _rows(connection, f"{_NAMED} UNION ALL {_CAME}", asked, root.key, os.path.join(root.path, ""))


def _rows(
    connection: sqlite3.Connection, sql: str, asked: Sequence[Lookup], *values: str
) -> list[tuple[int, ExistingRow]]:
    """The rows found, each with the index of its lookup."""
    found = []
    for start in range(0, len(asked), _ASKED_AT_ONCE):
        some = asked[start : start + _ASKED_AT_ONCE]
        rows = connection.execute(f"{_with_asked(len(some))} {sql}", (*chain.from_iterable(some), *values))
        found += [(start + number, ExistingRow(*row)) for number, *row in rows]
    return found


def pruned_before(history: History) -> str:
    """The time up to which the history was pruned, in the format of `updated_utc`; "" when it never was. Raises
    HistoryError."""
    with history.reading() as connection:
        return pruned.before(connection)


_COMMITTED = f"""
SELECT moved_to, updated_utc, runs FROM dispatch_history WHERE root = ?1 AND moved_to IN ({{0}}) UNION ALL
SELECT workspace, updated_utc, runs FROM dispatch_history WHERE root = ?1 AND workspace IN ({{0}}) UNION ALL
SELECT workspace, updated_utc, runs FROM workspaces AS w
WHERE root = ?1 AND workspace IN ({{0}}) AND committed AND {IS_ELSEWHERE.format("w")}"""


def committed(history: History, root: str, workspaces: Sequence[str]) -> dict[str, set[Key]]:
    """The identities of all commits of these workspaces, including those under former names, and of the newest one that
    has its row in another root, as the index knows. Raises HistoryError."""
    sql = _COMMITTED.format(", ".join(f"?{number}" for number in range(2, len(workspaces) + 2)))
    found: dict[str, set[Key]] = {}
    with history.reading() as connection:
        for workspace, utc, runs in connection.execute(sql, (root, *workspaces)):
            found.setdefault(workspace, set()).add((utc, runs))
    return found


def has_any(history: History, root: str, workspace: str) -> bool:
    """Whether the history has a commit under a workspace's name. Raises HistoryError."""
    sql = "SELECT 1 FROM dispatch_history WHERE root = ? AND workspace = ? LIMIT 1"
    with history.reading() as connection:
        return connection.execute(sql, (root, workspace)).fetchone() is not None


def move(history: History, ids: Collection[int], to: str | None) -> None:
    """Record the last known place of the workspaces of these rows (None: where they were committed). The rows keep
    their identity.

    Not durable: after a power cut it is recorded again. Raises HistoryError.
    """
    with history.transaction(durable=False) as connection:
        sql = "UPDATE dispatch_history SET moved_to = ? WHERE id = ?"
        connection.executemany(sql, ((to, number) for number in ids))


# --- for `wait`

_NAMES_AT_ONCE = 400


class NamedRow(NamedTuple):
    """The result of a dispatch. `moved_to` is None if its workspace did not move; `started_utc` is None when unset."""

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
    """By name, the rows of workspaces of a root (by its key), including those moved there from another name. A
    workspace moved to another root has an absolute path as `moved_to`, which may be requested too."""
    found: dict[str, list[NamedRow]] = {}
    for start in range(0, len(names), _NAMES_AT_ONCE):
        some = names[start : start + _NAMES_AT_ONCE]
        for name in ("workspace", "moved_to"):
            sql = f"SELECT {name}, {_NAMED_COLUMNS} FROM dispatch_history WHERE root = ? AND {name} IN ({marks(some)})"
            for asked, *row in connection.execute(sql, (root, *some)):
                found.setdefault(asked, []).append(NamedRow(*row))
    return found


# --- tokens and cost of a run

# Compare only with commits of the run that were inserted earlier: then the additions sum up to the newest commit's
# values, in any order and any grouping into transactions.
_NEWEST_TWO = f"""
SELECT updated_utc, {", ".join(USED_COLUMNS)} FROM dispatch_history
WHERE root = ? AND workspace = ? AND runs = ? AND started_utc IS ? AND id <= (
    SELECT id FROM dispatch_history WHERE root = ? AND workspace = ? AND updated_utc = ? AND runs = ?)
ORDER BY updated_utc DESC LIMIT 2"""


def added_usage(
    connection: sqlite3.Connection, place: tuple[str, str], run: tuple[int, str | None], updated_utc: str, most: int
) -> dict[str, int]:
    """How much a commit adds to each of USED_COLUMNS. A run may be committed twice with the same values (completed,
    later merged), which must count once. {} if the history lacks the commit, or it is not the newest of its run.

    `place` is (root, workspace), `run` is (runs, started_utc). Each value of a run is limited to `most`, since an agent
    may report any number. Never negative: a counter only grows.
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
