"""Journal lines that are gone while the history has their rows: written again, from the rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from agentic_watch.config import Config
from agentic_watch.history import queries
from agentic_watch.workspace import instant, journal, report
from agentic_watch.workspace.layout import META, Candidate
from agentic_watch.workspace.place import Place, open_place
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.workspace_errors import WorkspaceError

_ROWS = "SELECT * FROM dispatch_history WHERE root = ? AND workspace = ? ORDER BY id"
_FINDINGS = """
SELECT tool, severity, category, file, line, "column", code, rule_id, title, message
FROM findings WHERE dispatch_id = ? ORDER BY id"""
_CHANGES = ("files_changed", "insertions", "deletions")
_SAME = ("workspace", "status", "agent", "repo", "org", "task", "branch", "process_id", "question", "pr_url")


def restore(config: Config, candidate: Candidate) -> int:
    """Append a line for each row of a workspace that has none; gives how many. Raises WorkspaceError, HistoryError."""
    place = open_place(candidate.root.path, candidate.name)
    try:
        place.make_meta()
        if not place.lock():
            raise WorkspaceError(META, "is held by another process", passing=True)
        return _append_missing(config, candidate, place)
    finally:
        place.close()


def _append_missing(config: Config, candidate: Candidate, place: Place) -> int:
    assert place.meta is not None
    opened = journal.open_journal(place.meta, config.limits)
    try:
        there = {record.identity for record in opened.records() if record.workspace == candidate.name}
        missing = [record for record in _recorded(config.history, candidate) if record.identity not in there]
        for record in missing:
            opened.append(record.line())
        if missing:
            opened.sync()
        return len(missing)
    finally:
        opened.close()


def _recorded(history: str, candidate: Candidate) -> Iterator[Record]:
    """What the history holds of a workspace, oldest first."""
    with queries.reading(history) as connection:
        cursor = connection.execute(_ROWS, (candidate.root.key, candidate.name))
        names = [column[0] for column in cursor.description]
        for values in cursor.fetchall():
            row = dict(zip(names, values, strict=True))
            cells = connection.execute(_FINDINGS, (row["id"],))
            heads = [column[0] for column in cells.description]
            yield _record(row, [dict(zip(heads, finding, strict=True)) for finding in cells])


def _record(row: dict[str, Any], findings: list[dict[str, Any]]) -> Record:
    told: dict[str, Any] = json.loads(row["report"]) if row["report"] else {}
    counted = {key: row[key] for key in _CHANGES if row[key] is not None}
    return Record(
        **{key: row[key] for key in (*_SAME, "issue", "runs", "committed_at")},
        started_at=instant.parse(row["started_at"]),
        updated_at=instant.parse(row["updated_at"]),
        report=told,
        # A line of another writer may have had findings and changes, and no report that repeats them.
        findings=report.findings(told) or [_known(finding) for finding in findings],
        changes=report.changes(told) or counted,
    )


def _known(finding: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in finding.items() if value is not None}
