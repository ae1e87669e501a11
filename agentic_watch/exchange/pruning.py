"""Old commits out of the history, archived first, and never to come back from a journal."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agentic_watch.exchange.exchange_errors import ExchangeError
from agentic_watch.exchange.exporting import host_id
from agentic_watch.exchange.new_file import new_file
from agentic_watch.fleet import interchange
from agentic_watch.fleet.interchange import Commit
from agentic_watch.history import queries
from agentic_watch.history.columns import FINDING_COLUMNS, HISTORY_COLUMNS
from agentic_watch.history.store import History

_PAGE = 500
_DELETED_AT_ONCE = 1_000
_COLUMNS = ("id", *HISTORY_COLUMNS, "moved_to")
_FINDINGS = ", ".join(f'"{name}"' for name in FINDING_COLUMNS)


@dataclass(frozen=True, slots=True)
class Old:
    """What is older than `before` (as `updated_utc` is written): how many commits and findings, from when to when
    ("" when there is none), and the number of the last one: whatever comes later stays."""

    before: str
    commits: int
    findings: int
    first: str
    last: str
    last_id: int


def old(history: str, before: str) -> Old:
    """Count what is older. Raises HistoryError and HistoryRefused."""
    with queries.reading(history) as connection:
        commits, findings, first, last, last_id = connection.execute(
            "SELECT count(*), ifnull(sum(findings_count), 0), min(updated_utc), max(updated_utc), max(id) "
            "FROM dispatch_history WHERE updated_utc < ?",
            (before,),
        ).fetchone()
    return Old(before, commits, findings, first or "", last or "", last_id or 0)


def archive(history: str, found: Old, path: str, on_progress: Callable[[int], None]) -> None:
    """Write what is older to a new file of interchange lines, durably. `on_progress` hears of so many more commits.

    Raises HistoryError, HistoryRefused, ExchangeError.
    """
    whose = host_id(history)
    try:
        with new_file(path) as file:
            for commits in _pages(history, found):
                text = "".join(f"{interchange.line(interchange.document(commit, whose))}\n" for commit in commits)
                file.write(text.encode("utf-8"))
                on_progress(len(commits))
    except OSError as error:
        raise ExchangeError(f"{path}: cannot be written: {error.strerror}; nothing was pruned") from error


def _pages(history: str, found: Old) -> Iterator[list[Commit]]:
    """The commits, some at a time: the history is opened anew for each, so that nobody waits for the archive."""
    after = 0
    while True:
        with queries.reading(history) as connection:
            commits = list(_page(connection, found, after))
        if commits:
            yield commits
        if len(commits) < _PAGE:
            return
        after = commits[-1].id


def _page(connection: sqlite3.Connection, found: Old, after: int) -> Iterator[Commit]:
    sql = (
        f"SELECT {', '.join(_COLUMNS)} FROM dispatch_history "
        "WHERE id > ? AND id <= ? AND updated_utc < ? ORDER BY id LIMIT ?"
    )
    for row in connection.execute(sql, (after, found.last_id, found.before, _PAGE)).fetchall():
        findings = connection.execute(f"SELECT {_FINDINGS} FROM findings WHERE dispatch_id = ? ORDER BY id", row[:1])
        yield Commit(dict(zip(_COLUMNS, row, strict=True)), tuple(findings))


def remove(history: History, found: Old, on_progress: Callable[[int], None]) -> int:
    """Delete what was archived, findings and search with it, and have no older line or marker bring it back.

    One transaction: all or nothing. `on_progress` hears how many commits went; gives them all. Raises HistoryError,
    HistoryRefused.
    """
    gone = 0
    with history.transaction() as connection:
        for first in range(0, found.last_id, _DELETED_AT_ONCE):
            last = min(first + _DELETED_AT_ONCE, found.last_id)
            # The triggers of the table take findings and search entries along, and have the workspaces looked at again.
            gone += connection.execute(
                "DELETE FROM dispatch_history WHERE id > ? AND id <= ? AND +updated_utc < ?",
                (first, last, found.before),
            ).rowcount
            on_progress(gone)
        connection.execute("UPDATE about SET pruned_before = max(ifnull(pruned_before, ''), ?)", (found.before,))
    return gone
