"""The questions that the page answers: SQL with its title, to be read, changed and asked again by who looks at it.

Values that a form asks for are `:since` (a date such as 2026-04-01, or nothing for the last thirty days) and names.
"""

from __future__ import annotations

from typing import Any

PASSED = "status IN ('completed', 'merged', 'ready-for-review')"
FAILED = "status IN ('failed', 'rejected')"
SINCE = "updated_utc >= coalesce(nullif(:since, ''), date('now', '-30 days'))"

_RULE = "coalesce(nullif(rule_id, ''), nullif(code, ''), nullif(category, ''), title)"
_RATE = f"round(100.0 * sum({PASSED}) / nullif(sum({PASSED}) + sum({FAILED}), 0), 1)"
_RECURRING_LOOKED_AT = 20_000


def queries() -> dict[str, dict[str, Any]]:
    """Datasette's `queries` of the history, by the name in their address."""
    return {
        "failed_today": _query(
            "Failed today",
            "Dispatches that failed or were rejected since midnight UTC.",
            f"""SELECT updated_at, workspace, agent, status, question, task, id FROM dispatches
WHERE {FAILED} AND updated_utc >= date('now') ORDER BY updated_utc DESC""",
        ),
        "why": _query(
            "Why they fail or wait",
            "The questions of failed, rejected and blocked dispatches, the most frequent first.",
            f"""SELECT count(*) AS dispatches, question, max(updated_at) AS newest,
  count(DISTINCT repo) AS repositories, min(workspace) AS example FROM dispatches
WHERE ({FAILED} OR status = 'blocked') AND {SINCE}
GROUP BY question ORDER BY dispatches DESC LIMIT 200""",
        ),
        "slowest": _query(
            "The slowest",
            "The longest dispatches, in minutes.",
            f"""SELECT round(duration_ms / 60000.0, 1) AS minutes, workspace, agent, status, task, updated_at, id
FROM dispatches WHERE duration_ms IS NOT NULL AND {SINCE} ORDER BY duration_ms DESC LIMIT 100""",
        ),
        "recurring_findings": _query(
            "Findings that recur",
            f"Rules by the dispatches that they were found in, among the newest {_RECURRING_LOOKED_AT:,} dispatches.",
            f"""SELECT tool, {_RULE} AS rule, count(DISTINCT dispatch_id) AS dispatches, count(*) AS findings,
  max(severity) AS severity, max(title) AS title
FROM findings WHERE dispatch_id IN (
  SELECT id FROM dispatches WHERE {SINCE} ORDER BY updated_utc DESC LIMIT {_RECURRING_LOOKED_AT})
GROUP BY tool, rule ORDER BY dispatches DESC LIMIT 200""",
        ),
        "agents": _query(
            "Agents compared",
            "How many of the judged dispatches passed, in percent; below 20 judged it says little.",
            f"""SELECT agent, count(*) AS dispatches, sum({PASSED}) AS passed, sum({FAILED}) AS failed,
  {_RATE} AS passed_percent, round(avg(duration_ms) / 60000.0, 1) AS mean_minutes
FROM dispatches WHERE {SINCE} GROUP BY agent ORDER BY dispatches DESC LIMIT 200""",
        ),
        "first_try": _query(
            "First try",
            "The same among first runs only, by repository.",
            f"""SELECT org, repo, count(*) AS dispatches, sum({PASSED}) AS passed, sum({FAILED}) AS failed,
  {_RATE} AS passed_percent FROM dispatches WHERE runs <= 1 AND {SINCE}
GROUP BY org, repo ORDER BY dispatches DESC LIMIT 200""",
        ),
    }


def _query(title: str, about: str, sql: str) -> dict[str, Any]:
    return {"title": title, "description": about, "sql": sql, "hide_sql": True}
