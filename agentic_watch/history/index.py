"""What is on disk now: the `workspaces` table, which spares a rescan the reading of what has not changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from agentic_watch.history.store import History

BACKOFF_SECONDS = (1, 5, 15, 60, 300)


@dataclass(frozen=True, slots=True)
class State:
    """A row of `workspaces`. `next_attempt_at` is in seconds since the epoch; `signature` and `journal` are
    those of workspace.files.signature, "" when they must not be trusted."""

    root: str
    workspace: str
    status: str = ""
    agent: str = ""
    repo: str = ""
    question: str = ""
    pid: int = 0
    updated_at: str = ""
    runs: int = 0
    committed: int = 0
    fail_count: int = 0
    next_attempt_at: float | None = None
    last_error: str | None = None
    ghost: int = 0
    seen_at: str = ""
    signature: str = ""
    journal: str = ""


_COLUMNS = tuple(f.name for f in fields(State))
_UPSERT = f"INSERT OR REPLACE INTO workspaces ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"


def backoff(fail_count: int) -> float:
    """Seconds to wait after the `fail_count`-th failure in a row: 1, 5, 15, 60, then 300, ± 10 %."""
    import random  # 5 ms to import, and rarely needed

    return BACKOFF_SECONDS[min(fail_count, len(BACKOFF_SECONDS)) - 1] * random.uniform(0.9, 1.1)  # noqa: S311


@dataclass(frozen=True, slots=True)
class Known:
    """What a rescan of one root compares with: name → signature; which of these are unfinished, and which
    failed, with their failures in a row and the time of the next attempt (seconds since the epoch)."""

    signatures: dict[str, str] = field(default_factory=dict)
    unfinished: set[str] = field(default_factory=set)
    failing: dict[str, tuple[int, float]] = field(default_factory=dict)


def known(history: History, root: str, finished: frozenset[str]) -> Known:
    """Load the index of one root. Raises HistoryError.

    A workspace that was unfinished under another list of finished statuses has its signature forgotten.
    """
    sql = "SELECT workspace, signature, committed, status, fail_count, next_attempt_at FROM workspaces WHERE root = ?"
    found = Known()
    with history.reading() as connection:
        for name, signature, committed, status, fail_count, next_attempt_at in connection.execute(sql, (root,)):
            if fail_count:
                found.failing[name] = (fail_count, next_attempt_at or 0.0)
            elif not committed:
                found.unfinished.add(name)
                if status in finished:
                    signature = ""
            found.signatures[name] = signature
    return found


def states(history: History) -> list[State]:
    """All rows, by name. Raises HistoryError."""
    return _select(history, "ORDER BY root, workspace", ())


def running(history: History, root: str) -> list[State]:
    """The rows of one root whose dispatch says that it is running. Raises HistoryError."""
    return _select(history, "WHERE root = ? AND status = 'running'", (root,))


def _select(history: History, which: str, values: tuple[str, ...]) -> list[State]:
    with history.reading() as connection:
        return [
            State(*row) for row in connection.execute(f"SELECT {', '.join(_COLUMNS)} FROM workspaces {which}", values)
        ]


def journal_signature(history: History, root: str, workspace: str) -> str:
    """The journal's signature when every line of it was in the history, else "". Raises HistoryError."""
    sql = "SELECT journal FROM workspaces WHERE root = ? AND workspace = ?"
    with history.reading() as connection:
        row = connection.execute(sql, (root, workspace)).fetchone()
    return row[0] or "" if row else ""


def remember(history: History, changed: Iterable[State], gone: Iterable[tuple[str, str]] = ()) -> None:
    """Write changed rows and drop those of vanished workspaces (root, name). Raises HistoryError."""
    with history.transaction() as connection:
        connection.executemany(_UPSERT, (_values(state) for state in changed))
        connection.executemany("DELETE FROM workspaces WHERE root = ? AND workspace = ?", gone)


def _values(state: State) -> tuple[Any, ...]:
    return tuple(getattr(state, name) for name in _COLUMNS)
