"""The columns of the history that a commit fills, in the order in which rows hold their values. Imports nothing: who
only asks needs no more of what a row is made of."""

from __future__ import annotations

TOKEN_COLUMNS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
COST_COLUMN = "cost_microusd"
"""In millionths of a dollar."""

USAGE_COLUMNS = ["session_id", "head_commit", *TOKEN_COLUMNS, "turns", COST_COLUMN]
"""Of `dispatch_history`, what its report says of session, commit, tokens and cost (usage_columns.py)."""

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
    *USAGE_COLUMNS,
]
"""Of `dispatch_history`, but for its number and `moved_to`."""

TABLE_COLUMNS = ["id", *HISTORY_COLUMNS[: -len(USAGE_COLUMNS)], "moved_to", *USAGE_COLUMNS]
"""All of `dispatch_history`, in the table's order."""

FINDING_COLUMNS = ["tool", "severity", "category", "file", "line", "column", "code", "rule_id", "title", "message"]
"""Of `findings`, but for whose they are."""
