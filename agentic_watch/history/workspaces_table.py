"""The `workspaces` table: the index of workspaces on disk, by which scans skip unchanged ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentic_watch.history import row_count
from agentic_watch.history.store import History, marks


class WorkspaceRow(NamedTuple):
    """A row of `workspaces`. `next_attempt_at` is in seconds since the epoch; `signature` and `journal` are signatures
    (workspace/signatures.py), b"" when not trusted; `updated_utc` is as in dispatch_history."""

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
    signature: bytes = b""
    journal: bytes = b""
    updated_utc: str = ""


LONGEST_QUESTION = 4000
"""Maximum length of a stored question."""

# This table only saves reads and never replaces the record: its "committed" state counts only together with the history
# row, or when such rows were pruned.
_FIELDS = ", ".join(WorkspaceRow._fields)
_SAME = "d.root = given.root AND d.updated_utc = given.updated_utc AND d.runs = given.runs"
_HAS_ROW = f"EXISTS (SELECT 1 FROM dispatch_history AS d WHERE d.workspace = given.workspace AND {_SAME})"
# Of several copies the row names one; many rows may share Go's zero time.
_IS_COPY = (
    f"updated_utc > '0001-01-01T00:00:00.000000000Z' AND EXISTS (SELECT 1 FROM dispatch_history AS d WHERE {_SAME} "
    "AND d.moved_to IS NOT NULL)"
)
# CASE, because SQLite evaluates both sides of an OR in a result column: whatever has its row must not pay for a look at
# all that were moved, or finished in the same moment.
_IS_TRUE = (
    f"CASE WHEN NOT committed THEN 1 WHEN {_HAS_ROW} THEN 1 "
    f"WHEN EXISTS (SELECT 1 FROM dispatch_history AS d WHERE d.moved_to = given.workspace AND {_SAME}) THEN 1 "
    f"WHEN updated_utc < (SELECT pruned_before FROM about) THEN 1 ELSE {_IS_COPY} END"
)
_RECORDED = (
    f"ifnull((SELECT substr(d.{{0}}, 1, {LONGEST_QUESTION}) FROM dispatch_history AS d WHERE d.workspace = "
    f"judged.workspace AND {_SAME.replace('given', 'judged')} AND instr(d.{{0}}, '[redacted:')), {{0}})"
)
# Workspaces that were moved or copied to another root are read each time, because deleting their row does not reset
# their state.
IS_ELSEWHERE = (
    f"CASE WHEN {_HAS_ROW.replace('given', '{0}')} THEN 0 ELSE "
    "{0}.updated_utc > '0001-01-01T00:00:00.000000000Z' AND EXISTS (SELECT 1 FROM dispatch_history AS d "
    "WHERE d.updated_utc = {0}.updated_utc AND d.runs = {0}.runs AND d.root <> {0}.root) END"
)
_BELIEVED = {
    "committed": f"iif(committed AND NOT is_true, {IS_ELSEWHERE.format('judged')}, committed)",
    "signature": "iif(is_true, signature, x'')",
    "journal": "iif(is_true, journal, x'')",
    # The status may still contain secrets that `redact` removed from its record.
    **{name: _RECORDED.format(name) for name in ("agent", "repo", "question")},
}
_UPSERT = (
    f"WITH given ({_FIELDS}) AS (VALUES ({marks(WorkspaceRow._fields)})), "
    f"judged AS MATERIALIZED (SELECT *, {_IS_TRUE} AS is_true FROM given) "
    f"INSERT OR REPLACE INTO workspaces ({_FIELDS}) "
    f"SELECT {', '.join(_BELIEVED.get(name, name) for name in WorkspaceRow._fields)} FROM judged"
)


# Few of many rows: without this hint SQLite scans all.
_IS_OPEN = "(fail_count OR NOT committed)"
_QUIET = (
    "SELECT workspace, signature FROM workspaces WHERE root = ? AND workspace > ? AND committed AND NOT fail_count "
    "ORDER BY workspace LIMIT 4096"
)
_OPEN = f"INDEXED BY workspaces_open WHERE root = ? AND {_IS_OPEN}"


@dataclass(frozen=True, slots=True)
class RootIndex:
    """The index of one root for a scan: name → signature (b"" to force a read); the unfinished ones; and the failing
    ones with their consecutive failures and the time of the next attempt (seconds since the epoch)."""

    signatures: dict[str, bytes] = field(default_factory=dict)
    unfinished: set[str] = field(default_factory=set)
    failing: dict[str, tuple[int, float]] = field(default_factory=dict)


def load(history: History, root: str, finished: frozenset[str], known: RootIndex) -> Iterator[None]:
    """Load the index of one root into `known`, yielding after every few thousand rows. Raises HistoryError.

    The signature is dropped for workspaces that were unfinished under another list of finished statuses, and for all
    when rows were inserted or deleted by others. Rows written between two steps may be missed; their workspaces are
    then read once more.
    """
    is_in_order = _take_stock(history)
    signatures = known.signatures
    last: str | None = ""
    cursor: sqlite3.Cursor | None = None
    while last is not None:
        with history.reading() as connection:
            # One cursor for all steps: a connection keeps references to closed cursors, which would hold memory.
            cursor = cursor if cursor is not None and cursor.connection is connection else connection.cursor()
            some = dict(cursor.execute(_QUIET, (root, last)))  # avoids Python code per row
        signatures.update(some)
        last = next(reversed(some), None)
        yield
    other = f"SELECT workspace, signature, status, fail_count, next_attempt_at FROM workspaces {_OPEN}"
    with history.reading() as connection:
        for name, signature, status, fail_count, next_attempt_at in connection.execute(other, (root,)):
            if fail_count:
                known.failing[name] = (fail_count, next_attempt_at or 0.0)
            else:
                known.unfinished.add(name)
            signatures[name] = b"" if fail_count or status in finished else signature
        connection.execute("PRAGMA shrink_memory")  # the pages of the index, which only the next scan reads again
    if not is_in_order:
        signatures.update(dict.fromkeys(signatures, b""))


def _take_stock(history: History) -> bool:
    """Whether the stored states can be trusted; if not, they are reset."""
    with history.reading() as connection:
        if row_count.is_in_order(connection, history.path):
            return True
    if not history.read_only:
        with history.transaction() as connection:
            history.notices.append(f"{history.path}: {row_count.take_stock(connection)}")
    return False


_IS_WHOLE = "committed AND NOT fail_count AND signature <> x''"


def whole(history: History) -> list[tuple[Any, ...]]:
    """Root, workspace, status, agent, repo, question, pid, runs, updated_at and signature of workspaces whose row is
    complete as long as the signature is unchanged. An unfinished one lacks its start time, which is read from disk.

    Raises HistoryError.
    """
    columns = "root, workspace, status, agent, repo, question, pid, runs, updated_at, signature"
    with history.reading() as connection:
        return connection.execute(f"SELECT {columns} FROM workspaces WHERE {_IS_WHOLE}").fetchall()


def others(history: History) -> list[WorkspaceRow]:
    """The rows that `whole` does not return. Raises HistoryError."""
    return _select(history, f"WHERE NOT ({_IS_WHOLE})", ())


def counts(history: History) -> dict[str, int]:
    """Number of workspaces on disk by state: failing, ghost, running, queued, other (unfinished) and committed.

    Raises HistoryError.
    """
    state = (
        "CASE WHEN fail_count THEN 'failing' WHEN ghost THEN 'ghost' WHEN status IN ('running', 'queued') THEN status "
        "ELSE 'other' END"
    )
    found = dict.fromkeys(("failing", "ghost", "running", "queued", "other"), 0)
    with history.reading() as connection:
        by_state = f"SELECT {state}, count(*) FROM workspaces INDEXED BY workspaces_open WHERE {_IS_OPEN} GROUP BY 1"
        found |= dict(connection.execute(by_state))
        (everything,) = connection.execute("SELECT count(*) FROM workspaces").fetchone()
    return found | {"committed": everything - sum(found.values())}


def state(history: History, root: str, workspace: str) -> WorkspaceRow | None:
    """The row of one workspace. Raises HistoryError."""
    return next(iter(_select(history, "WHERE root = ? AND workspace = ?", (root, workspace))), None)


def _select(history: History, which: str, values: tuple[str, ...]) -> list[WorkspaceRow]:
    with history.reading() as connection:
        return [WorkspaceRow(*row) for row in connection.execute(f"SELECT {_FIELDS} FROM workspaces {which}", values)]


def journal_signatures(history: History, root: str, workspaces: Sequence[str]) -> dict[str, bytes]:
    """By workspace, the journal's signature if the history held every line of it. Raises HistoryError."""
    sql = "SELECT journal FROM workspaces WHERE root = ? AND workspace = ? AND journal <> x''"
    with history.reading() as connection:
        if history.read_only and not row_count.is_in_order(connection, history.path):
            return {}
        return {name: journal for name in workspaces for (journal,) in connection.execute(sql, (root, name))}


def remember(
    history: History,
    changed: Iterable[WorkspaceRow],
    gone: Iterable[tuple[str, str]] = (),
    write_more: Callable[[sqlite3.Connection], None] = lambda _: None,
) -> None:
    """Write changed rows, delete those of vanished workspaces (root, name), and call `write_more` in the same
    transaction.

    Raises HistoryError. Not durable: a lost row only means that its workspace is read once more.
    """
    with history.transaction(durable=False) as connection:
        if not history.is_the_same(connection):
            changed = (state._replace(signature=b"", journal=b"") for state in changed)
        connection.executemany(_UPSERT, changed)
        connection.executemany("DELETE FROM workspaces WHERE root = ? AND workspace = ?", gone)
        write_more(connection)
