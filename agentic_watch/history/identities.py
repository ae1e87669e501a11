"""Which of these commits does the history hold? Only those are asked for that somebody has in hand."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import NamedTuple

from agentic_watch.history.store import History, Key, marks


class Asked(NamedTuple):
    """A commit that is asked for, and the texts that should be those of its row."""

    workspace: str
    updated_utc: str
    runs: int
    status: str
    task: str
    question: str


class Held(NamedTuple):
    """The row of a commit: when it was committed, whether its texts are those asked for, and the workspace that it
    was committed in, which may have been moved since."""

    committed_at: str
    is_same: bool
    workspace: str


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
    sql = f"WITH asked ({', '.join(Asked._fields)}) AS (VALUES {rows}) {by_former_name} UNION ALL {by_name}"
    with history.reading() as connection:
        found = connection.execute(sql, (*chain.from_iterable(asked), root, root)).fetchall()
    return {workspace: Held(at, bool(same), where) for workspace, at, same, where in found}


def content(status: str, task: str, question: str) -> int:
    """The texts that two records of one identity should share, as a number: a task can be a megabyte."""
    return hash((status, task, question))


def lacking(history: History, root: str, workspace: str, keys: Collection[Key], *, here: str) -> set[Key]:
    """Those of one workspace's commits that the history lacks: they have neither a row of its name, nor one of a former
    name that was moved there, or to `here`, its name now.

    Raises HistoryError.
    """
    rows = ", ".join(["(?, ?)"] * len(keys))
    by_name = (
        f"WITH asked (updated_utc, runs) AS (VALUES {rows}) "
        "SELECT asked.updated_utc, asked.runs FROM asked CROSS JOIN dispatch_history AS held "
        "ON held.root = ? AND held.workspace = ? AND held.updated_utc = asked.updated_utc AND held.runs = asked.runs"
    )
    with history.reading() as connection:
        left = set(keys) - set(connection.execute(by_name, (*_flat(keys), root, workspace)))
        if left:
            by_former_name = (
                "SELECT updated_utc, runs FROM dispatch_history WHERE root = ? AND moved_to IN (?, ?) "
                f"AND (updated_utc, runs) IN (VALUES {', '.join(['(?, ?)'] * len(left))})"
            )
            left -= set(connection.execute(by_former_name, (root, workspace, here, *_flat(left))))
    return left


def named_otherwise(history: History, root: str, asked: Asked) -> set[str]:
    """The other names under which commits of this identity and with these texts were made. Raises HistoryError."""
    sql = (
        "SELECT workspace FROM dispatch_history WHERE root = ? AND workspace <> ? AND updated_utc = ? AND runs = ? "
        "AND status = ? AND task = ? AND question = ?"
    )
    with history.reading() as connection:
        return {name for (name,) in connection.execute(sql, (root, *asked))}


def _flat(keys: Collection[Key]) -> list[str | int]:
    return [value for key in keys for value in key]


def pruned_before(history: History) -> str:
    """Until when the history was pruned, as `updated_utc` is written; "" when it never was. Raises HistoryError."""
    with history.reading() as connection:
        return str(connection.execute("SELECT ifnull(max(pruned_before), '') FROM about").fetchone()[0])


def has_any(history: History, root: str, workspace: str) -> bool:
    """Whether the history holds a commit of a workspace, under its name or a former one. Raises HistoryError."""
    sql = "SELECT 1 FROM dispatch_history WHERE root = ? AND (workspace = ? OR moved_to = ?) LIMIT 1"
    with history.reading() as connection:
        return connection.execute(sql, (root, workspace, workspace)).fetchone() is not None


def places(history: History, root: str, workspace: str, keys: Collection[Key], *, here: str) -> set[str]:
    """Where the history believes these commits of a workspace to be, by name; empty when it holds none of them.

    They have its name, or a former one and were moved there, or to `here`. Raises HistoryError.
    """
    sql = (
        "SELECT DISTINCT ifnull(moved_to, workspace) FROM dispatch_history "
        "WHERE root = ? AND (workspace = ? OR moved_to IN (?, ?)) "
        f"AND (updated_utc, runs) IN (VALUES {', '.join(['(?, ?)'] * len(keys))})"
    )
    with history.reading() as connection:
        found = connection.execute(sql, (root, workspace, workspace, here, *_flat(keys)))
        return {place for (place,) in found}


def move(history: History, root: str, workspace: str, places: Collection[str], to: str) -> None:
    """Take down that a workspace whose commits were in `places` has another name now; they keep their identity.

    What else was committed under its name, and is elsewhere, stays there. Raises HistoryError.
    """
    sql = (
        "UPDATE dispatch_history SET moved_to = nullif(?, workspace) "
        "WHERE root = ? AND (workspace = ? OR moved_to = ?) "
        f"AND ifnull(moved_to, workspace) IN ({marks(list(places))}) AND moved_to IS NOT ?"
    )
    with history.transaction() as connection:
        connection.execute(sql, (to, root, workspace, workspace, *places, to))
