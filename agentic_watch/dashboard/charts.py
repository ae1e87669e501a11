"""The charts of the page, for datasette-dashboards.

Only numbers and Vega-Lite charts, which draw text as text: the plugin's tables and maps put what a row holds into the
page as HTML, and an agent may have written it. Tables are canned queries, which datasette escapes.
"""

from __future__ import annotations

from typing import Any

from agentic_watch.dashboard.canned_queries import FAILED, PASSED

DATABASE = "history"
SLUG = "agentic-watch"

_DAYS = "updated_utc >= date('now', '-' || coalesce(nullif(:days, ''), '30') || ' days')"
_OUTCOME = f"CASE WHEN {PASSED} THEN 'passed' WHEN {FAILED} THEN 'failed' ELSE 'waiting or unjudged' END"
_DAY = "substr(updated_utc, 1, 10)"
_RATE = f"100.0 * sum({PASSED}) / nullif(sum({PASSED}) + sum({FAILED}), 0)"
_COLOURS = {
    "scale": {"domain": ["passed", "failed", "waiting or unjudged"], "range": ["#2e7d32", "#c62828", "#9e9e9e"]}
}


def dashboards() -> dict[str, Any]:
    """The configuration of the plugin: one page."""
    return {
        SLUG: {
            "title": "agentic-watch",
            "description": "Finished dispatches of this host",
            "layout": [
                ["dispatches", "passed", "firsttry", "waiting"],
                ["outcomes", "outcomes", "rate", "rate"],
                ["agents", "agents", "duration", "duration"],
                ["severities", "severities", "statuses", "statuses"],
            ],
            "filters": {"days": {"name": "Days", "type": "number", "default": 30, "min": 1, "max": 3660}},
            "charts": {**_numbers(), **_over_time(), **_compared()},
        }
    }


def _numbers() -> dict[str, Any]:
    return {
        "dispatches": _number("Dispatches", "count(*)"),
        "passed": _number("Passed of judged", f"coalesce(round({_RATE}, 1), '–')", suffix=" %"),
        "firsttry": _number("First try", f"coalesce(round({_RATE}, 1), '–')", suffix=" %", where="runs <= 1"),
        "waiting": _number("Waiting", "coalesce(sum(status = 'blocked'), 0)"),
    }


def _over_time() -> dict[str, Any]:
    return {
        "outcomes": _chart(
            "Dispatches a day",
            f"SELECT {_DAY} AS day, {_OUTCOME} AS outcome, count(*) AS dispatches FROM dispatches "
            f"WHERE {_DAYS} GROUP BY day, outcome",
            {"mark": "bar", "encoding": _encoding("day", "dispatches", colour="outcome", scale=_COLOURS)},
        ),
        "rate": _chart(
            "Passed of judged, in percent",
            f"SELECT {_DAY} AS day, round({_RATE}, 1) AS percent FROM dispatches WHERE {_DAYS} "
            "GROUP BY day HAVING percent IS NOT NULL",
            {"mark": "line", "encoding": _encoding("day", "percent")},
        ),
        "duration": _chart(
            "Mean duration in minutes",
            f"SELECT {_DAY} AS day, round(avg(duration_ms) / 60000.0, 1) AS minutes FROM dispatches "
            f"WHERE {_DAYS} AND duration_ms IS NOT NULL GROUP BY day",
            {"mark": "line", "encoding": _encoding("day", "minutes")},
        ),
    }


def _compared() -> dict[str, Any]:
    return {
        "agents": _chart(
            "Agents",
            f"SELECT agent, {_OUTCOME} AS outcome, count(*) AS dispatches FROM dispatches WHERE {_DAYS} "
            f"AND agent IN (SELECT agent FROM dispatches WHERE {_DAYS} GROUP BY agent ORDER BY count(*) DESC LIMIT 12) "
            "GROUP BY agent, outcome",
            {"mark": "bar", "encoding": _bars("agent", colour="outcome", scale=_COLOURS)},
        ),
        "severities": _chart(
            "Findings by severity",
            "SELECT coalesce(severity, 'none') AS severity, count(*) AS findings FROM findings WHERE dispatch_id IN "
            f"(SELECT id FROM dispatches WHERE {_DAYS} ORDER BY updated_utc DESC LIMIT 20000) "
            "GROUP BY severity ORDER BY findings DESC LIMIT 12",
            {"mark": "bar", "encoding": _bars("severity", length="findings")},
        ),
        "statuses": _chart(
            "Statuses",
            f"SELECT status, count(*) AS dispatches FROM dispatches WHERE {_DAYS} GROUP BY status "
            "ORDER BY dispatches DESC LIMIT 12",
            {"mark": "bar", "encoding": _bars("status")},
        ),
    }


def _number(title: str, expression: str, *, suffix: str = "", where: str = "1") -> dict[str, Any]:
    sql = f"SELECT {expression} AS value FROM dispatches WHERE {_DAYS} AND {where}"
    display = {"field": "value", "suffix": suffix}
    return {"title": title, "db": DATABASE, "library": "metric", "query": sql, "display": display}


def _chart(title: str, sql: str, display: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "db": DATABASE, "library": "vega-lite", "query": sql, "display": display}


def _encoding(x: str, y: str, *, colour: str = "", scale: dict[str, Any] | None = None) -> dict[str, Any]:
    axes: dict[str, Any] = {
        "x": {"field": x, "type": "temporal", "title": None},
        "y": {"field": y, "type": "quantitative", "title": None},
    }
    return axes | ({"color": {"field": colour, "type": "nominal", "title": None, **(scale or {})}} if colour else {})


def _bars(
    name: str, *, length: str = "dispatches", colour: str = "", scale: dict[str, Any] | None = None
) -> dict[str, Any]:
    axes: dict[str, Any] = {
        "y": {"field": name, "type": "nominal", "title": None, "sort": "-x"},
        "x": {"field": length, "type": "quantitative", "title": None},
    }
    return axes | ({"color": {"field": colour, "type": "nominal", "title": None, **(scale or {})}} if colour else {})
