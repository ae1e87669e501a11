"""The charts of the page, for datasette-dashboards.

Only numbers and Vega-Lite charts, which render text safely: the plugin's tables and maps insert values into the page as
HTML, and agents write the values. Tables are canned queries, which datasette escapes.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from agentic_watch.answers.past.outcomes import Outcomes
from agentic_watch.dashboard.canned_queries import DOLLARS, Judged, judged, quoted

DATABASE = "history"
SLUG = "agentic-watch"

_DAYS = "updated_utc >= date('now', '-' || coalesce(nullif(:days, ''), '30') || ' days')"
_DAY = "substr(updated_utc, 1, 10)"
_ROWS = "/history/dispatches?_sort_desc=updated_utc"
"""The page that lists the dispatches of a chart's mark."""
_SPAN = "'&updated_utc__gte=' || date('now', '-' || coalesce(nullif(:days, ''), '30') || ' days')"
_COLOURS = {
    "scale": {"domain": ["passed", "failed", "waiting or unjudged"], "range": ["#2e7d32", "#c62828", "#9e9e9e"]}
}


def dashboards(outcomes: Outcomes) -> dict[str, Any]:
    """The plugin's configuration: one page; a click on a mark lists its dispatches."""
    words = judged(outcomes)
    return {
        SLUG: {
            "title": "agentic-watch",
            "description": "Finished dispatches of this host",
            "layout": [
                ["dispatches", "passed", "firsttry", "waiting"],
                ["cost", "cost", "perpassed", "perpassed"],
                ["outcomes", "outcomes", "rate", "rate"],
                ["agents", "agents", "duration", "duration"],
                ["costs", "costs", "costpassed", "costpassed"],
                ["severities", "severities", "statuses", "statuses"],
            ],
            "filters": {"days": {"name": "Days", "type": "number", "default": 30, "min": 1, "max": 3660}},
            "charts": {**_numbers(words), **_over_time(words, outcomes), **_compared(words, outcomes)},
        }
    }


def _numbers(words: Judged) -> dict[str, Any]:
    return {
        "dispatches": _number("Dispatches", "count(*)"),
        "passed": _number("Passed of judged", f"coalesce(round({words.rate}, 1), '–')", suffix=" %"),
        "firsttry": _number("First try", f"coalesce(round({words.rate}, 1), '–')", suffix=" %", where="runs <= 1"),
        "waiting": _number("Waiting", f"coalesce(sum({words.waiting}), 0)"),
        "cost": _number(
            "Cost",
            f"CASE WHEN count(cost_microusd) THEN printf('$%.2f, %d of %d known', {DOLLARS}, count(cost_microusd), "
            "count(*)) ELSE '–' END",
        ),
        "perpassed": _number("Cost per passed", f"coalesce('$' || round({words.cost_per_passed}, 2), '–')"),
    }


def _over_time(words: Judged, outcomes: Outcomes) -> dict[str, Any]:
    return {
        "outcomes": _chart(
            "Dispatches a day",
            f"SELECT {_DAY} AS day, {_outcome(words)} AS outcome, count(*) AS dispatches, "
            f"{_of_day()} || {_with_outcome(words, outcomes)} AS link FROM dispatches "
            f"WHERE {_DAYS} GROUP BY day, outcome",
            {"mark": "bar", "encoding": _over_days("dispatches", colour="outcome")},
        ),
        "costs": _chart(
            "Cost a day, in dollars",
            f"SELECT {_DAY} AS day, round({DOLLARS}, 4) AS dollars, {_of_day()} AS link FROM dispatches "
            f"WHERE {_DAYS} AND cost_microusd IS NOT NULL GROUP BY day",
            {"mark": "bar", "encoding": _over_days("dollars")},
        ),
        "rate": _chart(
            "Passed of judged, in percent",
            f"SELECT {_DAY} AS day, round({words.rate}, 1) AS percent, {_of_day()} AS link FROM dispatches "
            f"WHERE {_DAYS} GROUP BY day HAVING percent IS NOT NULL",
            {"mark": "line", "encoding": _over_days("percent")},
        ),
        "duration": _chart(
            "Mean duration in minutes",
            f"SELECT {_DAY} AS day, round(avg(duration_ms) / 60000.0, 1) AS minutes, {_of_day()} AS link "
            f"FROM dispatches WHERE {_DAYS} AND duration_ms IS NOT NULL GROUP BY day",
            {"mark": "line", "encoding": _over_days("minutes")},
        ),
    }


def _compared(words: Judged, outcomes: Outcomes) -> dict[str, Any]:
    return {
        "agents": _chart(
            "Agents",
            f"SELECT agent, {_outcome(words)} AS outcome, count(*) AS dispatches, "
            f"{_where('agent')} || {_SPAN} || {_with_outcome(words, outcomes)} AS link FROM dispatches WHERE {_DAYS} "
            f"AND agent IN (SELECT agent FROM dispatches WHERE {_DAYS} GROUP BY agent ORDER BY count(*) DESC LIMIT 12) "
            "GROUP BY agent, outcome",
            {"mark": "bar", "encoding": _bars("agent", colour="outcome")},
        ),
        "costpassed": _chart(
            "Dollars per passed dispatch (at least 95 % known)",
            f"SELECT agent, round({words.cost_per_passed}, 4) AS dollars, {_where('agent')} || {_SPAN} AS link "
            f"FROM dispatches WHERE {_DAYS} GROUP BY agent HAVING dollars IS NOT NULL ORDER BY count(*) DESC LIMIT 12",
            {"mark": "bar", "encoding": _bars("agent", length="dollars")},
        ),
        "severities": _chart(
            "Findings by severity",
            "SELECT coalesce(severity, 'none') AS severity, count(*) AS findings, "
            f"'/history/findings?_sort_desc=id&severity__exact=' || {_encoded('severity')} AS link "
            "FROM findings WHERE dispatch_id IN "
            f"(SELECT id FROM dispatches WHERE {_DAYS} ORDER BY updated_utc DESC LIMIT 20000) "
            "GROUP BY severity ORDER BY findings DESC LIMIT 12",
            {"mark": "bar", "encoding": _bars("severity", length="findings")},
        ),
        "statuses": _chart(
            "Statuses",
            f"SELECT status, count(*) AS dispatches, {_where('status')} || {_SPAN} AS link FROM dispatches "
            f"WHERE {_DAYS} GROUP BY status "
            "ORDER BY dispatches DESC LIMIT 12",
            {"mark": "bar", "encoding": _bars("status")},
        ),
    }


def _outcome(words: Judged) -> str:
    return f"CASE WHEN {words.passed} THEN 'passed' WHEN {words.failed} THEN 'failed' ELSE 'waiting or unjudged' END"


def _of_day() -> str:
    return f"'{_ROWS}&updated_utc__startswith=' || {_DAY}"


def _where(column: str) -> str:
    return f"'{_ROWS}&{column}__exact=' || {_encoded(column)}"


def _with_outcome(words: Judged, outcomes: Outcomes) -> str:
    """The URL parameters that select the dispatches of a row's outcome."""
    passed, failed = (quote(",".join(outcomes.statuses(outcome)), safe=",") for outcome in ("passed", "failed"))
    others = quote(",".join(outcomes.statuses("passed", "failed")), safe=",")
    cases = f"WHEN {words.passed} THEN '&status__in={passed}' WHEN {words.failed} THEN '&status__in={failed}'"
    return f"(CASE {cases} ELSE '&status__notin={others}' END)"


def _encoded(column: str) -> str:
    """Escape an agent's text as a value in a URL, so that it cannot begin another parameter or a fragment."""
    text = column
    for character in "%&#+;":
        text = f"replace({text}, {quoted(character)}, {quoted(quote(character))})"
    return text


def _number(title: str, expression: str, *, suffix: str = "", where: str = "1") -> dict[str, Any]:
    sql = f"SELECT {expression} AS value FROM dispatches WHERE {_DAYS} AND {where}"
    display = {"field": "value", "suffix": suffix}
    return {"title": title, "db": DATABASE, "library": "metric", "query": sql, "display": display}


def _chart(title: str, sql: str, display: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "db": DATABASE, "library": "vega-lite", "query": sql, "display": display}


def _over_days(value: str, *, colour: str = "") -> dict[str, Any]:
    day = {"field": "day", "type": "temporal", "title": None}
    return _linked({"x": day, "y": {"field": value, "type": "quantitative"}}, colour)


def _bars(name: str, *, length: str = "dispatches", colour: str = "") -> dict[str, Any]:
    bar = {"field": name, "type": "nominal", "title": None, "sort": "-x"}
    return _linked({"y": bar, "x": {"field": length, "type": "quantitative"}}, colour)


def _linked(axes: dict[str, Any], colour: str) -> dict[str, Any]:
    """Axes with the link of a mark, and the field that colours the marks ("": none)."""
    coloured = {"color": {"field": colour, "type": "nominal", "title": None, **_COLOURS}} if colour else {}
    return {**axes, "href": {"field": "link", "type": "nominal"}, **coloured}
