"""The page's ready queries: titles and SQL, which users can read, change and run.

Form parameters are `:since` (a date such as 2026-04-01, or empty for the last thirty days) and names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agentic_watch.answers.past.costs import LEAST_KNOWN_PERCENT
from agentic_watch.answers.past.findings import CODED
from agentic_watch.answers.past.outcomes import Outcomes


@dataclass(frozen=True, slots=True)
class Judged:
    """SQL conditions for the outcomes of statuses in this configuration."""

    passed: str
    failed: str
    waiting: str

    @property
    def cost_per_passed(self) -> str:
        """SQL: dollars per passed dispatch, including failed ones; NULL also if less than 95 % is known."""
        of_all = f"{DOLLARS} / nullif(sum({self.passed}), 0)"
        return f"CASE WHEN count(cost_microusd) * 100 >= count(*) * {LEAST_KNOWN_PERCENT} THEN {of_all} END"

    @property
    def rate(self) -> str:
        """SQL: the pass rate in percent, or NULL."""
        return f"100.0 * sum({self.passed}) / nullif(sum({self.passed}) + sum({self.failed}), 0)"


DOLLARS = "(CASE WHEN count(cost_microusd) THEN total(cost_microusd) / 1e6 END)"
"""SQL: the cost of a group in dollars, NULL when unknown. sum() fails for values over 64 bits, which agents may report:
https://sqlite.org/lang_aggfunc.html#sumunc"""


def judged(outcomes: Outcomes) -> Judged:
    """The conditions for these outcomes."""
    return Judged(*(_among(outcomes.statuses(outcome)) for outcome in ("passed", "failed", "waiting")))


def _among(statuses: tuple[str, ...]) -> str:
    return f"status IN ({', '.join(map(quoted, statuses))})"


def quoted(text: str) -> str:
    """A text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


SINCE = "updated_utc >= coalesce(nullif(:since, ''), date('now', '-30 days'))"

_RULE = f"coalesce(nullif({CODED.replace('f.', '')}, ''), title)"
_RECURRING_LOOKED_AT = 20_000


def queries(outcomes: Outcomes) -> dict[str, dict[str, Any]]:
    """Datasette's `queries`, by the name in their URL."""
    words = judged(outcomes)
    return {
        "failed_today": _query(
            "Failed today",
            "Dispatches that failed since midnight UTC.",
            f"""SELECT updated_at, workspace, agent, status, question, task, id FROM dispatches
WHERE {words.failed} AND updated_utc >= date('now') ORDER BY updated_utc DESC""",
        ),
        "why": _query(
            "Why they fail or wait",
            "The questions of dispatches that failed or wait, the most frequent first.",
            f"""SELECT count(*) AS dispatches, question, max(updated_at) AS newest,
  count(DISTINCT repo) AS repositories, min(workspace) AS example FROM dispatches
WHERE ({words.failed} OR {words.waiting}) AND {SINCE}
GROUP BY question ORDER BY dispatches DESC LIMIT 200""",
        ),
        "slowest": _query(
            "The slowest",
            "The slowest dispatches, in minutes.",
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
            "How many of the judged dispatches passed, in percent; with fewer than 20 judged it says little.",
            f"""SELECT agent, count(*) AS dispatches, sum({words.passed}) AS passed, sum({words.failed}) AS failed,
  round({words.rate}, 1) AS passed_percent, round(avg(duration_ms) / 60000.0, 1) AS mean_minutes,
  round({DOLLARS}, 2) AS dollars, count(cost_microusd) AS cost_known_of,
  round({words.cost_per_passed}, 2) AS dollars_per_passed
FROM dispatches WHERE {SINCE} GROUP BY agent ORDER BY dispatches DESC LIMIT 200""",
        ),
        **_OF_COST,
        "first_try": _query(
            "First try",
            "The same among first runs only, by repository.",
            f"""SELECT org, repo, count(*) AS dispatches, sum({words.passed}) AS passed, sum({words.failed}) AS failed,
  round({words.rate}, 1) AS passed_percent FROM dispatches WHERE runs <= 1 AND {SINCE}
GROUP BY org, repo ORDER BY dispatches DESC LIMIT 200""",
        ),
    }


def _query(title: str, about: str, sql: str) -> dict[str, Any]:
    return {"title": title, "description": about, "sql": sql, "hide_sql": True}


_OF_COST = {
    "dearest": _query(
        "The most expensive",
        "Cost in dollars and tokens of single dispatches, as reported by the agents' programs.",
        f"""SELECT round(cost_microusd / 1e6, 4) AS dollars, workspace, agent, status,
  input_tokens, cache_read_tokens, cache_write_tokens, output_tokens, turns, pr_url, task, updated_at, id
FROM dispatches WHERE cost_microusd IS NOT NULL AND {SINCE} ORDER BY cost_microusd DESC LIMIT 100""",
    ),
    "pull_requests": _query(
        "Pull requests",
        "Cost in dollars of all dispatches of each, and how many report it; 1 if it was merged.",
        f"""SELECT pr_url, round({DOLLARS}, 2) AS dollars, count(cost_microusd) AS cost_known_of,
  count(*) AS dispatches, max(status = 'merged') AS merged, max(updated_at) AS newest FROM dispatches
WHERE pr_url != '' AND {SINCE} GROUP BY pr_url ORDER BY dollars DESC LIMIT 200""",
    ),
}
