"""The columns of the history that a commit fills, in the order of a row's values, and how their values are derived.

Separate from `rows`, so that readers import only this. `report.usage`, `report.commits` and findings are written by
`dispatch` or by others, so they are not trusted: an invalid value is unknown, which is NULL and never 0.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from agentic_watch.host import digests

_COUNTS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "turns")
_INT64_MAX = 2**63 - 1
_INT64 = range(-(2**63), 2**63)
_MICRO = 1_000_000
_LONGEST_NAME = 200
"""Maximum length of an id or a model's name; longer ones are ignored."""
_HASH = re.compile(r"[0-9A-Fa-f]+")
_SUFFIX = re.compile(r"\s*\[[^\[\]]*\]\Z")


def usage_values(report: Mapping[str, Any]) -> tuple[Any, ...]:
    """The values of USAGE_COLUMNS; the cost in millionths of a dollar."""
    if "usage" not in report and "commits" not in report:
        return _UNKNOWN
    usage, commits = _object(report, "usage"), _object(report, "commits")
    return (
        _name(usage.get("session_id")),
        _commit(commits.get("end")),
        *[_count(usage.get(key)) for key in _COUNTS],
        _microusd(usage.get("cost_usd")),
    )


def model_of(agent: str, report: Mapping[str, Any]) -> str:
    """The model in an agent's name (`base:model`), else the first one in the report, without a suffix in brackets; ""
    when there is none."""
    if model := agent.partition(":")[2]:
        return model
    models = _object(report, "usage").get("models")
    for model in models if isinstance(models, list) else ():
        if name := _name(model):
            return _SUFFIX.sub("", name)
    return ""


def report_of(text: str | None) -> dict[str, Any]:
    """Parse the report of a row; {} when there is none or it is invalid (changed by SQL)."""
    try:
        said = json.loads(text or "{}")
        if text and "\\u" in text:  # a lone surrogate cannot be stored in a column
            json.dumps(said, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _object(report: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = report.get(key)
    return value if isinstance(value, dict) else {}


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME else None


def _commit(value: Any) -> str | None:
    """A git hash in lower case; names of other systems unchanged."""
    name = _name(value)
    return name.lower() if name and _HASH.fullmatch(name) else name


def _number(value: Any) -> int | float | None:
    """A number of at least 0; not a boolean and not NaN."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= _INT64_MAX:
        return value
    return None


def _count(value: Any) -> int | None:
    number = _number(value)
    if isinstance(number, float):
        number = int(number) if number.is_integer() else None
    return number if number is not None and number <= _INT64_MAX else None


def _microusd(value: Any) -> int | None:
    number = _number(value)
    if number is None:
        return None
    cost = round(number * _MICRO)
    return cost if cost <= _INT64_MAX else None


TOKEN_COLUMNS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
COST_COLUMN = "cost_microusd"
"""In millionths of a dollar."""

USED_COLUMNS = (*TOKEN_COLUMNS, COST_COLUMN)
"""The values of a run that metrics add up."""

USAGE_COLUMNS = ["session_id", "head_commit", *TOKEN_COLUMNS, "turns", COST_COLUMN]
"""Columns of `dispatch_history` from the report: session, commit, tokens and cost."""
_UNKNOWN = (None,) * len(USAGE_COLUMNS)

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
"""Columns of `dispatch_history`, without `id` and `moved_to`."""

TABLE_COLUMNS = ["id", *HISTORY_COLUMNS[: -len(USAGE_COLUMNS)], "moved_to", *USAGE_COLUMNS]
"""All columns of `dispatch_history`, in the table's order."""

FINDING_COLUMNS = ["tool", "severity", "category", "file", "line", "column", "code", "rule_id", "title", "message"]
"""Columns of `findings`, without the dispatch's id."""
_WHOLE = ("line", "column")


def commit_id(root: str, workspace: str, updated_utc: str, runs: int) -> str:
    """The commit's id, derived from its identity, so that each host and each retry computes the same."""
    identity = "\0".join((root, workspace, updated_utc, str(runs))).encode(errors="surrogateescape")
    digits = digests.sha256(identity).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"


def finding_values(item: dict[str, Any]) -> tuple[Any, ...]:
    """The values of one finding, in the order of FINDING_COLUMNS; values that do not fit a column are None."""
    return tuple([whole(item.get(key)) if key in _WHOLE else _text(item.get(key)) for key in FINDING_COLUMNS])


def whole(value: Any) -> int | None:
    """An integer in SQLite's range, else None."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value in _INT64:
        return value
    return None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, (bool, int, float)) else None
