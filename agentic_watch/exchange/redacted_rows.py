"""A history row without its secrets: of what was recorded before they were looked for, or comes from elsewhere."""

from __future__ import annotations

import json
from typing import Any

from agentic_watch.history.columns import HISTORY_COLUMNS
from agentic_watch.history.rows import Row
from agentic_watch.workspace import kept_file
from agentic_watch.workspace.jsontext import dump
from agentic_watch.workspace.redactor import Redactor

TEXT_COLUMNS = (
    *("repo", "org", "task", "agent", "model", "branch", "question", "process_id", "pr_url"),
    *("session_id", "head_commit"),
)
"""What may hold a secret, beside the report; the others are made here, or say which commit it is."""

_TEXTS = tuple(HISTORY_COLUMNS.index(name) for name in TEXT_COLUMNS)
_REPORT = HISTORY_COLUMNS.index("report")


def redacted(row: Row, without: Redactor) -> Row:
    """The row without secrets."""
    values = list(row.values)
    for index in _TEXTS:
        values[index] = redacted_text(values[index], without)
    values[_REPORT] = redacted_report(row.report, without)
    findings = tuple(redacted_values(finding, without) for finding in row.findings)
    kept = tuple(kept_file.redacted(file, without.text) for file in row.kept)
    return row._replace(values=tuple(values), findings=findings, kept=kept)


def redacted_report(report: str | None, without: Redactor) -> str | None:
    """The JSON text of a report without secrets."""
    if report is None:
        return None
    try:
        value = json.loads(report)
    except (ValueError, RecursionError):  # somebody's SQL has spoilt it
        return without.text(report)
    changed = without.value(value)
    return report if changed == value else dump(changed)


def redacted_values(values: tuple[Any, ...], without: Redactor) -> tuple[Any, ...]:
    """The values of a row without secrets in its texts."""
    return tuple(redacted_text(value, without) for value in values)


def redacted_text(value: Any, without: Redactor) -> Any:
    """A value without secrets if it is a text."""
    return without.text(value) if isinstance(value, str) else value
