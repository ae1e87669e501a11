"""A root under another name: its commits are found there from then on, and stay the same commits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agentic_watch.exchange.exchange_errors import ExchangeError
from agentic_watch.history.rows import commit_id
from agentic_watch.history.store import History

_CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class Renamed:
    """How many commits have another root now, and how many were there twice, of which the ones of `new` stay."""

    renamed: int
    merged: int


def rename_root(history: History, old: str, new: str, on_progress: Callable[[int], None]) -> Renamed:
    """Give all that the history holds of the root `old` to the root `new`, in one transaction.

    A commit's id is made of its root, so each gets its new one. No daemon may run meanwhile: it would commit under the
    old name. `on_progress` hears how many have theirs. Raises HistoryError, HistoryRefused, ExchangeError when there is
    no such root.
    """
    with history.transaction() as connection:
        merged = connection.execute(
            "DELETE FROM dispatch_history AS d WHERE root = ? AND EXISTS (SELECT 1 FROM dispatch_history AS n "
            "WHERE n.root = ? AND n.workspace = d.workspace AND n.updated_utc = d.updated_utc AND n.runs = d.runs)",
            (old, new),
        ).rowcount
        renamed, after = 0, 0
        identity = "SELECT id, workspace, updated_utc, runs FROM dispatch_history WHERE root = ? AND id > ? ORDER BY id"
        while rows := connection.execute(f"{identity} LIMIT ?", (old, after, _CHUNK)).fetchall():
            after = rows[-1][0]
            connection.executemany(
                "UPDATE dispatch_history SET root = ?, commit_id = ? WHERE id = ?",
                ((new, commit_id(new, workspace, utc, runs), number) for number, workspace, utc, runs in rows),
            )
            renamed += len(rows)
            on_progress(renamed)
        seen = connection.execute(
            "UPDATE OR REPLACE workspaces SET root = ?, signature = x'', journal = x'' WHERE root = ?", (new, old)
        ).rowcount
        if not renamed and not merged and not seen:
            raise ExchangeError(f"{old}: the history holds no such root; {_there(history)}")
    return Renamed(renamed, merged)


def commits_of(history: History, root: str) -> int:
    """How many commits the history holds of a root. Raises HistoryError, HistoryRefused."""
    with history.reading() as connection:
        (count,) = connection.execute("SELECT count(*) FROM dispatch_history WHERE root = ?", (root,)).fetchone()
    return int(count)


def _there(history: History) -> str:
    with history.reading() as connection:
        found = [root for (root,) in connection.execute("SELECT DISTINCT root FROM dispatch_history ORDER BY root")]
    return f"there are {', '.join(found)}" if found else "it is empty"
