"""The columns of the history that a commit fills, in the order in which rows hold their values. Imports nothing: who
only asks needs no more of what a row is made of."""

from __future__ import annotations

HISTORY_COLUMNS = [
    "root",
    "workspace",
    "repo",
    "org",
    "task",
    "agent",
    "model",
    "branch",
    "status",
    "question",
    "issue",
    "runs",
    "process_id",
    "pr_url",
    "started_at",
    "updated_at",
    "committed_at",
    "started_utc",
    "updated_utc",
    "duration_ms",
    "passed",
    "build_passed",
    "test_passed",
    "lint_passed",
    "files_changed",
    "insertions",
    "deletions",
    "findings_count",
    "report",
    "host",
    "commit_id",
]
"""Of `dispatch_history`, but for its number."""

FINDING_COLUMNS = ["tool", "severity", "category", "file", "line", "column", "code", "rule_id", "title", "message"]
"""Of `findings`, but for whose they are."""
