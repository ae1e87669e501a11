"""`rename-root`: gives a root and its commits another name in the history."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from agentic_watch.config import Root
from agentic_watch.exchange import ExchangeError
from agentic_watch.exchange.slices import Slices
from agentic_watch.history.columns import commit_id
from agentic_watch.history.store import History

_IDENTITY = "n.root = :new AND n.workspace = d.workspace AND n.updated_utc = d.updated_utc AND n.runs = d.runs"
_SAME = " AND ".join(
    f"n.{name} IS d.{name}"
    for name in ("status", "task", "question", "started_utc", "org", "repo", "agent", "branch", "issue", "report")
)
_DIFFERENT = (
    f"SELECT d.workspace FROM dispatch_history AS d JOIN dispatch_history AS n ON {_IDENTITY} "
    f"WHERE d.root = :old AND NOT ({_SAME}) LIMIT 1"
)
_SOME = (
    "SELECT d.id, d.workspace, d.updated_utc, d.runs, "
    f"EXISTS (SELECT 1 FROM dispatch_history AS n WHERE {_IDENTITY}) "
    "FROM dispatch_history AS d WHERE d.root = :old LIMIT :size"
)
_SEEN = (
    "UPDATE OR REPLACE workspaces SET root = :new, signature = x'', journal = x'' "
    "WHERE root = :old AND workspace IN (SELECT workspace FROM workspaces WHERE root = :old LIMIT :size)"
)


_RUNS = (
    "UPDATE OR REPLACE open_runs SET root = :new "
    "WHERE root = :old AND workspace IN (SELECT workspace FROM open_runs WHERE root = :old LIMIT :size)"
)


@dataclass(frozen=True, slots=True)
class Renamed:
    """The number of renamed commits, and of those that existed under both names, of which the ones of `new` are
    kept."""

    renamed: int
    merged: int


def refuse_merge(roots: Sequence[Root], old: str, new: str) -> None:
    """Raise ExchangeError if both are configured roots, which would be merged."""
    olds, news = ([root for root in roots if name in (root.key, root.path)] for name in (old, new))
    if olds and news and news[0] not in olds:
        raise ExchangeError(
            f"{new}: is another root of the configuration ({news[0].path}); its dispatches and those of {old} would "
            "become one root's. Choose a name that no root has"
        )


def rename_root(history: History, old: str, new: str, on_progress: Callable[[int], None]) -> Renamed:
    """Rename the root `old` to `new` in the history, in slices: each is a transaction.

    A commit's id is derived from its root, so each commit gets a new one. No daemon may run meanwhile: it would commit
    under the old name. After an interruption the next call continues. `on_progress` is called with the number renamed.
    Raises HistoryError, HistoryRefused, ExchangeError when there is no such root, or when a commit exists under both
    names with different content.
    """
    names = {"old": old, "new": new}
    _refuse(history, names)
    slices, renamed, merged = Slices(), 0, 0
    while True:
        done, twice = history.rebuilding(partial(_rename_some, history, names, slices))
        renamed, merged = renamed + done, merged + twice
        on_progress(renamed)
        if not done + twice:
            break
        slices.pause()
    for statement in (_RUNS, _SEEN):
        seen = 1
        while seen:
            with history.transaction(durable=False) as connection, slices.one():
                seen = connection.execute(statement, {**names, "size": slices.size}).rowcount
            slices.pause()
    history.make_durable()
    return Renamed(renamed, merged)


def _rename_some(history: History, names: dict[str, str], slices: Slices) -> tuple[int, int]:
    """Rename one slice; returns the numbers of renamed rows and of deleted duplicates."""
    with history.transaction(durable=False) as connection, slices.one():
        rows = connection.execute(_SOME, {**names, "size": slices.size}).fetchall()
        _rename(connection, names["new"], [row[:4] for row in rows if not row[4]])
        twice = [(row[0],) for row in rows if row[4]]
        connection.executemany("DELETE FROM dispatch_history WHERE id = ?", twice)
    return len(rows) - len(twice), len(twice)


def _rename(connection: sqlite3.Connection, new: str, rows: Sequence[tuple[int, str, str, int]]) -> None:
    connection.executemany(
        "UPDATE dispatch_history SET root = ?, commit_id = ? WHERE id = ?",
        ((new, commit_id(new, workspace, utc, runs), number) for number, workspace, utc, runs in rows),
    )


def _refuse(history: History, names: dict[str, str]) -> None:
    old, new = names["old"], names["new"]
    with history.reading() as connection:
        is_there = connection.execute(
            "SELECT EXISTS (SELECT 1 FROM dispatch_history WHERE root = ?1) "
            "OR EXISTS (SELECT 1 FROM workspaces WHERE root = ?1)",
            (old,),
        ).fetchone()[0]
        different = connection.execute(_DIFFERENT, names).fetchone()
    if not is_there:
        raise ExchangeError(f"{old}: the history has no such root; {_there(history)}")
    if different:
        raise ExchangeError(
            f"{different[0]}: its commits under {old} and under {new} differ, and one of them would be deleted; "
            "nothing was renamed. Choose a name that no root has"
        )


def commits_of(history: History, root: str) -> int:
    """Number of a root's commits. Raises HistoryError, HistoryRefused."""
    with history.reading() as connection:
        (count,) = connection.execute("SELECT count(*) FROM dispatch_history WHERE root = ?", (root,)).fetchone()
    return int(count)


def _there(history: History) -> str:
    with history.reading() as connection:
        found = [root for (root,) in connection.execute("SELECT DISTINCT root FROM dispatch_history ORDER BY root")]
    return f"there are {', '.join(found)}" if found else "it is empty"
