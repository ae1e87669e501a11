"""Makes history rows from records, and inserts a group of rows."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from agentic_watch.history import findings_and_search
from agentic_watch.history.columns import (
    HISTORY_COLUMNS,
    commit_id,
    finding_values,
    model_of,
    usage_values,
    whole,
)
from agentic_watch.history.row_count import NewestRow
from agentic_watch.workspace import report as reports
from agentic_watch.workspace.ghost_record import is_ghost_record
from agentic_watch.workspace.jsontext import dump
from agentic_watch.workspace.kept_part import KeptFile
from agentic_watch.workspace.record import Record

HOST = os.uname().nodename
HELD_BYTES = 8 << 20
"""Memory limit for the rows of a batch, or of one journal, before they are written."""

_REPORT, _ROOT, _COMMIT_ID = (HISTORY_COLUMNS.index(name) for name in ("report", "root", "commit_id"))
_VERDICTS = ("passed", "build_passed", "test_passed", "lint_passed")
_CHANGES = ("files_changed", "insertions", "deletions")
_NO_VERDICTS, _NO_CHANGES = (None,) * len(_VERDICTS), (None,) * len(_CHANGES)
_ROW_BYTES = 1000
_FINDING_BYTES = 150

_NEXT = "SELECT ifnull((SELECT seq FROM sqlite_sequence WHERE name = 'dispatch_history'), 0) + 1"
_INSERT = (
    f"INSERT INTO dispatch_history (id, {', '.join(HISTORY_COLUMNS)}, moved_to) "
    f"VALUES ({', '.join('?' * (len(HISTORY_COLUMNS) + 2))}) "
    "ON CONFLICT DO NOTHING"
)
_INSERT_KEPT = (
    "INSERT INTO kept_files (dispatch_id, name, bytes, kept_from, content) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT DO NOTHING"
)
_COUNT = "UPDATE upkeep SET rows = rows + ? RETURNING searched_to, lost, rows"
_DISPATCH = ("workspace", "updated_utc", "runs", "started_utc", "org", "repo", "task", "agent", "branch")
_ITS = [HISTORY_COLUMNS.index(name) for name in _DISPATCH]
_NAMESAKE = (
    "SELECT 1 FROM roots CROSS JOIN dispatch_history AS d ON d.root = roots.root "
    f"AND {' AND '.join(f'd.{name} IS ?' for name in _DISPATCH[:3])} "
    f"AND {' AND '.join(f'+d.{name} IS ?' for name in _DISPATCH[3:])} AND d.root <> ?"
)


class Row(NamedTuple):
    """A `dispatch_history` row ready to insert (values in the order of HISTORY_COLUMNS), with its findings, the last
    place of its workspace (None: where it was committed) and its kept files. A row that `is_recovered` from a line is
    skipped if the dispatch has a row under the same name in another root."""

    values: tuple[Any, ...]
    findings: tuple[tuple[Any, ...], ...]
    moved_to: str | None = None
    is_recovered: bool = False
    kept: tuple[KeptFile, ...] = ()

    @property
    def report(self) -> str | None:
        """The report's JSON text."""
        text: str | None = self.values[_REPORT]
        return text

    @property
    def weight(self) -> int:
        """Approximate size in memory: an empty finding is a tuple, texts of findings are shared with the report."""
        kept = sum(len(file.content) for file in self.kept)
        return _ROW_BYTES + 2 * sys.getsizeof(self.report) + _FINDING_BYTES * len(self.findings) + kept


@dataclass(slots=True)
class RowBuffer:
    """Rows in memory until their batch is written, and their approximate size."""

    rows: list[Row] = field(default_factory=list)
    weight: int = 0

    def add(self, row: Row) -> None:
        """Add a row."""
        self.rows.append(row)
        self.weight += row.weight

    def take(self) -> list[Row]:
        """Remove and return all rows."""
        taken, self.rows, self.weight = self.rows, [], 0
        return taken


def from_record(record: Record, root: str, host: str = HOST, moved_to: str | None = None) -> Row:
    """Make the row of one commit; `root` is the root's key (its name, else its path)."""
    report = _with_files(record)
    changes = record.changes
    updated_utc = record.updated_at.utc()
    values = (
        root,
        record.workspace,
        record.repo,
        record.org,
        record.task,
        record.agent,
        model_of(record.agent, report),
        record.branch,
        record.status,
        record.question,
        record.issue,
        record.runs,
        record.process_id,
        record.pr_url,
        record.started_at.text,
        record.updated_at.text,
        record.committed_at,
        record.started_at.utc_if_set(),
        updated_utc,
        _duration_ms(record),
        *(_verdicts(report) if report else _NO_VERDICTS),
        *([whole(changes.get(name)) for name in _CHANGES] if changes else _NO_CHANGES),
        len(record.findings),
        dump(report) if report else None,
        host,
        commit_id(root, record.workspace, updated_utc, record.runs),
        *usage_values(report),
    )
    return Row(values, tuple(map(finding_values, record.findings)), moved_to)


def _verdicts(report: dict[str, Any]) -> list[int | None]:
    return [int(value) if isinstance(value := report.get(name), bool) else None for name in _VERDICTS]


def _with_files(record: Record) -> dict[str, Any]:
    """The report, or if a line has changed files but no report, a report of these: they have no column, but are
    searched."""
    if "files" in record.changes and not reports.changes(record.report):
        return {**record.report, "changes": record.changes}
    return record.report


def _duration_ms(record: Record) -> int | None:
    if record.started_at.is_zero or is_ghost_record(record.status, record.question):
        return None
    duration = (record.updated_at.ns - record.started_at.ns) // 1_000_000
    return duration if duration >= 0 else None


def insert(connection: sqlite3.Connection, rows: Sequence[Row]) -> tuple[int, NewestRow | None]:
    """Insert rows in the caller's transaction, which must do nothing else; returns the number of new rows and the last
    of them.

    A few statements insert all rows: under the write lock, the next free ids are ours. An id is never reused, so that
    no row inherits the findings of a deleted one. If findings or search are marked as damaged, they are omitted; new
    damage is handled by `findings_and_search.past_damage`.
    """
    (first,) = connection.execute(_NEXT).fetchone()
    values: list[tuple[Any, ...]] = []
    findings: list[tuple[Any, ...]] = []
    kept: list[tuple[Any, ...]] = []
    roots: dict[tuple[object, ...], object] = {}
    for row in rows:
        if row.is_recovered and _has_namesake(connection, row, roots):
            continue
        number = first + len(values)
        values.append((number, *row.values, row.moved_to))
        if row.findings:
            findings += [(number, *finding) for finding in row.findings]
        if row.kept:
            kept += [(number, *file) for file in row.kept]
    inserted = connection.executemany(_INSERT, values).rowcount
    if inserted < len(values):  # the others already existed
        new = {number for (number,) in connection.execute("SELECT id FROM dispatch_history WHERE id >= ?", (first,))}
        values, findings, kept = ([some for some in all_ if some[0] in new] for all_ in (values, findings, kept))
    if kept:
        connection.executemany(_INSERT_KEPT, kept)
    searched_to, lost, all_rows = connection.execute(_COUNT, (inserted,)).fetchone()
    if not values:
        return 0, None
    last, *of_last = values[-1]
    if lost is None:
        too_many_wait = last - searched_to > findings_and_search.MOST_WAITING
        if findings or too_many_wait:
            findings_and_search.add(connection, findings, inserted if too_many_wait else 0)
    return inserted, NewestRow(last, of_last[_COMMIT_ID], last - all_rows)


def _has_namesake(connection: sqlite3.Connection, row: Row, roots: dict[tuple[object, ...], object]) -> bool:
    """Whether the dispatch of a recovered row has a row of the same name in another root. A line names no root, so
    another process, or another workspace of this group (`roots`, by dispatch), may have inserted it from a copy."""
    root, dispatch = row.values[_ROOT], tuple([row.values[number] for number in _ITS])
    if roots.setdefault(dispatch, root) != root:
        return True
    return connection.execute(_NAMESAKE, (*dispatch, root)).fetchone() is not None
