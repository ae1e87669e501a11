"""Commits for tests: records as an agent's work leaves them, rows and interchange objects made of them."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from agentic_watch.fleet.interchange import Commit
from agentic_watch.history import rows
from agentic_watch.history.columns import HISTORY_COLUMNS
from agentic_watch.history.rows import Row
from agentic_watch.history.store import History
from agentic_watch.workspace import record
from agentic_watch.workspace.jsontext import dump

HOST_ID = "5b0f3c56-3b36-4d0c-9d3e-1f6f3a8f4c11"
REPORT = {
    "passed": False,
    "findings": [{"tool": "gosec", "severity": "high", "file": "a.go", "line": 3, "message": "x"}, {"code": "E1"}],
    "changes": {"files_changed": 2, "insertions": 10, "deletions": 1, "files": ["pkg/rounding.go", "docs/a.md"]},
    "usage": {"session_id": "5c6f0b7e", "cost_usd": 0.25, "turns": 3, "cache_write_tokens": 0},
    "commits": {"start": "a0" * 20, "end": "bc0d" * 10},
}


def row(number: int, /, root: str = "/srv/agents", report: dict[str, Any] | None = None, **fields: Any) -> Row:
    """The row of one dispatch; each number is a dispatch of its own."""
    document: dict[str, Any] = {
        "agent": "codex:gpt-5",
        "branch": "main",
        "committed_at": "2026-04-14T11:17:08Z",
        "issue": number,
        "org": "acme",
        "pr_url": "",
        "process_id": "",
        "question": "",
        "repo": f"repo{number % 7}",
        "runs": 1,
        "started_at": "2026-04-14T10:00:00Z",
        "status": "failed" if number % 5 == 0 else "completed",
        "task": f"Task {number}: ünïcode",
        "updated_at": f"2026-04-{1 + number % 28:02}T11:17:08.{number:09}+02:00",
        "workspace": f"acme/repo{number % 7}/task-{number}",
        **fields,
    }
    if report is not None:
        document |= {"report": report, "findings": report.get("findings", []), "changes": report.get("changes", {})}
    return rows.from_record(record.from_line(dump(document).encode()), root, "host-a")


def commit(number: int, /, **fields: Any) -> Commit:
    """The same as a commit of the history."""
    made = row(number, **fields)
    columns = dict(zip(HISTORY_COLUMNS, made.values, strict=True))
    return Commit({**columns, "id": number, "moved_to": made.moved_to}, made.findings)


def fill(history: Path, numbers: range, **fields: Any) -> list[str]:
    """Insert dispatches into a history and close it; gives their commit_ids, sorted."""
    with contextlib.closing(History(str(history))) as store:
        return insert(store, numbers, **fields)


def insert(store: History, numbers: range, **fields: Any) -> list[str]:
    """Insert dispatches as the daemon does; gives their commit_ids, sorted."""
    made = [row(number, report=REPORT if number % 3 == 0 else None, **fields) for number in numbers]
    for start in range(0, len(made), 500):
        store.insert(made[start : start + 500])
    place = HISTORY_COLUMNS.index("commit_id")
    return sorted(one.values[place] for one in made)
