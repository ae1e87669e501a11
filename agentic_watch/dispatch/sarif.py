"""SARIF 2.1 (OASIS, sarif-v2.1.0) as a report: what linters and scanners write.

Anybody may have written it: whatever has another shape than the standard's is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from agentic_watch.dispatch.report_sources import TEXT_AT_MOST, with_findings

_ABSENT = "absent"
_FAIL = "fail"


def report(document: dict[str, Any]) -> dict[str, Any]:
    """Findings, and `lint_passed`: no result of level error, and each tool ran to its end."""
    findings: list[dict[str, Any]] = []
    whole = True
    for run in _objects(document.get("runs")):
        findings += _findings(run)
        whole &= all(call.get("executionSuccessful") is not False for call in _objects(run.get("invocations")))
    return with_findings(findings) | {"lint_passed": whole and all(f["severity"] != "error" for f in findings)}


def _findings(run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    driver = _object(_object(run.get("tool")).get("driver"))
    rules = _objects(driver.get("rules"))
    by_id = {str(rule.get("id", "")): rule for rule in rules}
    for result in _objects(run.get("results")):
        # A suppressed result, one that is gone since the baseline, or one that passed, is nothing found.
        if result.get("suppressions") or result.get("baselineState") == _ABSENT or result.get("kind", _FAIL) != _FAIL:
            continue
        rule_id = _text(result.get("ruleId")) or _text(_object(result.get("rule")).get("id"))
        index = result.get("ruleIndex")
        rule = by_id.get(rule_id) or (rules[index] if isinstance(index, int) and 0 <= index < len(rules) else {})
        yield _finding(_text(driver.get("name")), rule_id or _text(rule.get("id")), result, rule)


def _finding(tool: str, rule_id: str, result: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    location = _object(next(iter(_objects(result.get("locations"))), {}).get("physicalLocation"))
    region = _object(location.get("region"))
    level = _text(result.get("level")) or _text(_object(rule.get("defaultConfiguration")).get("level"))
    return {
        "tool": tool,
        "severity": level or "warning",
        "category": _text(_object(rule.get("properties")).get("category")),
        "rule_id": rule_id,
        "title": _message(rule.get("shortDescription")) or _text(rule.get("name")),
        "message": _message(result.get("message")),
        "file": unquote(_text(_object(location.get("artifactLocation")).get("uri"))).removeprefix("file://"),
        "line": _number(region.get("startLine")),
        "column": _number(region.get("startColumn")),
    }


def _message(value: Any) -> str:
    message = _object(value)
    return _text(message.get("text")) or _text(message.get("markdown"))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value[:TEXT_AT_MOST] if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
