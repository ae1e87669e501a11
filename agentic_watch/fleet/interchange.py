"""The one form in which a commit leaves this host and comes back: export, import, archive, dead letters, HTTP.

One JSON object a line: the keys of a journal record, and host_id, commit_id, host, root, moved_to and "schema": 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentic_watch.history import rows
from agentic_watch.history.columns import FINDING_COLUMNS, HISTORY_COLUMNS
from agentic_watch.history.rows import Row
from agentic_watch.workspace import record
from agentic_watch.workspace import report as reports
from agentic_watch.workspace.jsontext import dump
from agentic_watch.workspace.status import text_field

SCHEMA = 1
_RECORD = (
    *("agent", "branch", "committed_at", "issue", "org", "pr_url", "process_id", "question", "repo", "runs"),
    *("started_at", "status", "task", "updated_at", "workspace"),
)
_PLACE = ("host", "root", "moved_to")
_CHANGES = ("files_changed", "insertions", "deletions")


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit as the history holds it: the columns of `dispatch_history` by name, and its findings in order."""

    columns: Mapping[str, Any]
    findings: Sequence[tuple[Any, ...]] = ()

    @property
    def id(self) -> int:
        """Its number in this host's history; 0 when it comes from elsewhere."""
        number: int = self.columns.get("id", 0)
        return number

    @property
    def commit_id(self) -> str:
        """What it is called everywhere."""
        text: str = self.columns["commit_id"]
        return text


def document(commit: Commit, host_id: str) -> dict[str, Any]:
    """The object of one commit."""
    columns = commit.columns
    found: dict[str, Any] = {key: columns[key] for key in _RECORD}
    report = json.loads(columns["report"]) if columns["report"] else {}
    large = {
        "report": report,
        # A line of another writer may hold findings and changes, and no report that repeats them.
        "findings": reports.findings(report) or [_finding(item) for item in commit.findings],
        "changes": reports.changes(report) or {key: columns[key] for key in _CHANGES if columns[key] is not None},
    }
    found |= {key: value for key, value in large.items() if value}
    whose = {"host_id": host_id, "commit_id": commit.commit_id} | {key: columns[key] for key in _PLACE}
    return {**found, **whose, "schema": SCHEMA}


def line(found: Mapping[str, Any]) -> str:
    """The object as one line of text, keys sorted, without its newline."""
    return dump(found)


def row(found: Mapping[str, Any]) -> Row:
    """The history row of an object. Raises Malformed, or KeyError when `root` or `host` is missing."""
    moved_to = text_field(dict(found), "moved_to", "commit") or None
    return rows.from_record(record.from_line(dump(found).encode("utf-8")), found["root"], found["host"], moved_to)


def commit(found: Mapping[str, Any], number: int = 0) -> Commit:
    """An object as the commit it was made of; `number` is its number in the history, if it has one. Raises as `row`."""
    made = row(found)
    columns = dict(zip(HISTORY_COLUMNS, made.values, strict=True))
    return Commit({**columns, "id": number, "commit_id": found["commit_id"], "moved_to": made.moved_to}, made.findings)


def _finding(values: Sequence[Any]) -> dict[str, Any]:
    return {key: value for key, value in zip(FINDING_COLUMNS, values, strict=True) if value is not None}
