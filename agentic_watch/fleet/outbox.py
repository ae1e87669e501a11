"""Reads the commits to send from the history, in the order of their ids. Read-only."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeVar

from agentic_watch.fleet import interchange
from agentic_watch.fleet.interchange import Commit
from agentic_watch.fleet.push_state import Position
from agentic_watch.history import HistoryError, opening
from agentic_watch.history.columns import FINDING_COLUMNS, TABLE_COLUMNS
from agentic_watch.history.store import marks
from agentic_watch.host.retry import retry
from agentic_watch.workspace.kept_part import KeptFile

_FINDINGS = ", ".join(f'"{name}"' for name in FINDING_COLUMNS)
_BYTES_OF = ("report", "task", "question")
_FINDING_BYTES = 200
_AT_A_TIME = 500
_PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2)

_CALLED = "updated_utc || ' ' || runs || ' ' || workspace"
"""Identifies a row independently of its id and of its root's current name."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Largest:
    """Limits of a batch, in commits and bytes, since a report may have megabytes."""

    commits: int
    bytes: int


@dataclass(frozen=True, slots=True)
class OutgoingBatch:
    """Commits to send, the row that is reached once they are delivered, and whether these are the last."""

    history_id: str
    commits: tuple[Commit, ...]
    last: Position
    is_last: bool


def history_id(connection: sqlite3.Connection) -> str:
    """The id of the history; ids of commits are valid only within it."""
    text: str = connection.execute("SELECT history_id FROM about").fetchone()[0]
    return text


def identity(history: str) -> str:
    """The id of the history at this path. Raises HistoryError and HistoryRefused."""
    return _read(history, history_id)


def next_batch(
    history: str, after: int, largest: Largest, statuses: Collection[str] = (), *, files: bool = False
) -> OutgoingBatch:
    """The next commits after an id with one of the statuses, and with `files` their kept files.

    Raises HistoryError and HistoryRefused.
    """
    condition, values = with_status(statuses)

    def read(connection: sqlite3.Connection) -> OutgoingBatch:
        # One snapshot: commits made meanwhile have higher ids.
        connection.execute("BEGIN")
        whose = history_id(connection)
        commits, is_last = page(connection, f"WHERE id > ?{condition}", (after, *values), largest, files=files)
        which = "id = (SELECT max(id) FROM dispatch_history)" if is_last else f"id = {commits[-1].id}"
        row = connection.execute(f"SELECT id, {_CALLED} FROM dispatch_history WHERE {which}").fetchone()
        connection.execute("COMMIT")
        return OutgoingBatch(whose, commits, Position(*row) if row and row[0] > after else Position(after, ""), is_last)

    return _read(history, read)


def next_lines(
    history: str, after: int, largest: Largest, host_id: str, *, files: bool
) -> tuple[str, dict[int, str], bool]:
    """(id of the history, interchange lines of the next commits by id, whether these are the last).

    Raises HistoryError and HistoryRefused.
    """

    def read(connection: sqlite3.Connection) -> tuple[str, dict[int, str], bool]:
        connection.execute("BEGIN")
        found = lines(connection, "WHERE id > :after", {"after": after}, largest, host_id, files=files)
        return history_id(connection), *found

    return _read(history, read)


def position_of(commit: Commit) -> Position:
    """The position of a commit in the history."""
    columns = commit.columns
    return Position(commit.id, f"{columns['updated_utc']} {columns['runs']} {columns['workspace']}")


def confirmed(history: str, position: Position) -> int:
    """The position's id if the history has, or had, that row at this id; else 0.

    A history restored from a backup reuses ids for other commits. Raises HistoryError and HistoryRefused.
    """
    return _read(history, lambda connection: confirmed_by(connection, position)) if position.id else 0


def confirmed_by(connection: sqlite3.Connection, position: Position) -> int:
    """The same for an open history."""
    row = connection.execute(f"SELECT {_CALLED} FROM dispatch_history WHERE id = ?", (position.id,)).fetchone()
    if row is not None:
        return position.id if position.called in ("", row[0]) else 0
    # The row was pruned, if the history ever reached that id.
    given = "SELECT seq FROM sqlite_sequence WHERE name = 'dispatch_history' AND seq >= ?"
    return position.id if connection.execute(given, (position.id,)).fetchone() else 0


def by_commit_id(history: str, workspace: str, commit_id: str) -> Commit | None:
    """One commit of a workspace, found by an index; None when the history no longer has it. Raises HistoryError and
    HistoryRefused."""
    which = "WHERE root IN (SELECT root FROM roots) AND workspace = ? AND commit_id = ?"

    def read(connection: sqlite3.Connection) -> Commit | None:
        rows = list(_rows(connection, which, (workspace, commit_id)))
        return next(iter(_with_findings(connection, rows)), None)

    return _read(history, read)


def pending(history: str, after: int, statuses: Collection[str] = ()) -> int:
    """Number of commits after an id. Raises HistoryError and HistoryRefused."""
    condition, values = with_status(statuses)
    with opening.reading(history) as connection:
        sql = f"SELECT count(*) FROM dispatch_history WHERE id > ?{condition}"
        return int(connection.execute(sql, (after, *values)).fetchone()[0])


def delivered_ids(history: str, last_id: int, statuses: Collection[str] = ()) -> list[tuple[str, str]]:
    """(day, commit_id) of each commit up to an id. Raises HistoryError and HistoryRefused."""
    condition, values = with_status(statuses)
    sql = f"SELECT substr(updated_utc, 1, 10), commit_id FROM dispatch_history WHERE id <= ?{condition}"
    return _read(history, lambda connection: connection.execute(sql, (last_id, *values)).fetchall())


def of_days(history: str, days: Sequence[str], wanted: Collection[str], *, files: bool = False) -> Iterator[Commit]:
    """The `wanted` commits of these days (`2026-04-14`, by updated_utc), with `files` as in `next_batch`.

    Raises HistoryError, HistoryRefused.
    """
    with opening.reading(history) as connection:
        for day in days:
            which = "WHERE updated_utc >= ? AND updated_utc < ? ORDER BY id"
            # U sorts after the T that follows a day.
            rows = [row for row in _rows(connection, which, (day, day + "U")) if row["commit_id"] in wanted]
            for start in range(0, len(rows), _AT_A_TIME):
                for row in _with_findings(connection, rows[start : start + _AT_A_TIME]):
                    yield replace(row, kept=kept_of(connection, row.id)) if files else row


def _read(history: str, ask: Callable[[sqlite3.Connection], T]) -> T:
    """Run a query, and retry while another process opens and closes the history, as `--once` does."""

    def once() -> T:
        with opening.reading(history) as connection:
            return ask(connection)

    return retry(once, lambda error: isinstance(error, HistoryError), _PAUSES)


def page(
    connection: sqlite3.Connection, which: str, values: Sequence[Any], largest: Largest, *, files: bool = False
) -> tuple[tuple[Commit, ...], bool]:
    """(the first commits for an SQL condition in the order of ids, whether these are the last).

    Raises sqlite3.Error.
    """
    taken: list[dict[str, Any]] = []
    kept: dict[int, tuple[KeptFile, ...]] = {}
    size = 0
    for columns in _rows(connection, f"{which} ORDER BY id LIMIT ?", (*values, largest.commits + 1)):
        if taken and (size > largest.bytes or len(taken) == largest.commits):
            return _with_findings(connection, taken, kept), False
        taken.append(columns)
        size += weight(columns)
        if files and (found := kept_of(connection, columns["id"])):
            kept[columns["id"]] = found
            size += kept_bytes(found)
    return _with_findings(connection, taken, kept), True


def lines(
    connection: sqlite3.Connection,
    which: str,
    values: Mapping[str, Any],
    largest: Largest,
    host_id: str,
    *,
    files: bool,
) -> tuple[dict[int, str], bool]:
    """The same as interchange lines by id, most of them made by SQLite.

    The condition has named `values` (`:after`). Raises sqlite3.Error.
    """
    line = interchange.line_in_sql(host_id)
    if files:
        line = f"iif(EXISTS (SELECT 1 FROM kept_files WHERE dispatch_id = d.id), NULL, {line})"
    found: dict[int, str] = {}
    size = 0
    sql = f"SELECT id, {line} FROM dispatch_history AS d {which} ORDER BY id LIMIT :most"
    for number, text in connection.execute(sql, {**values, "most": largest.commits + 1}):
        if found and (size > largest.bytes or len(found) == largest.commits):
            return found, False
        if text is None:
            (commit,) = _with_findings(connection, list(_rows(connection, "WHERE id = ?", (number,))))
            commit = replace(commit, kept=kept_of(connection, number) if files else ())
            text = interchange.line(interchange.document(commit, host_id))
        found[number] = text
        size += len(text)
    return found, True


def kept_of(connection: sqlite3.Connection, number: int) -> tuple[KeptFile, ...]:
    """The kept files of one commit. Raises sqlite3.Error."""
    sql = "SELECT name, bytes, kept_from, content FROM kept_files WHERE dispatch_id = ? ORDER BY name"
    return tuple(KeptFile(*row) for row in connection.execute(sql, (number,)))


def kept_bytes(kept: Iterable[KeptFile]) -> int:
    """Approximate uncompressed size of kept files."""
    return sum(file.size - file.kept_from for file in kept)


def weight(columns: Mapping[str, Any]) -> int:
    """Approximate size of a commit."""
    texts = sum(len(columns[name] or "") for name in _BYTES_OF)
    return texts + _FINDING_BYTES * int(columns["findings_count"])


def with_status(statuses: Collection[str]) -> tuple[str, list[str]]:
    """SQL condition and values for rows with one of the statuses; no status means any."""
    names = sorted(statuses)
    return (f" AND status IN ({marks(names)})" if names else ""), names


def _rows(connection: sqlite3.Connection, which: str, values: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for row in connection.execute(f"SELECT {', '.join(TABLE_COLUMNS)} FROM dispatch_history AS d {which}", values):
        yield dict(zip(TABLE_COLUMNS, row, strict=True))


def _with_findings(
    connection: sqlite3.Connection,
    rows: Sequence[dict[str, Any]],
    kept: Mapping[int, tuple[KeptFile, ...]] = MappingProxyType({}),
) -> tuple[Commit, ...]:
    """The commits of rows ordered by id, with one query for all findings."""
    found: dict[int, list[tuple[Any, ...]]] = {row["id"]: [] for row in rows if row["findings_count"]}
    if found:
        sql = f"SELECT dispatch_id, {_FINDINGS} FROM findings WHERE dispatch_id IN ({marks(list(found))}) ORDER BY id"
        for number, *finding in connection.execute(sql, list(found)):
            found[number].append(tuple(finding))
    return tuple(Commit(row, tuple(found.get(row["id"], ())), kept.get(row["id"], ())) for row in rows)
