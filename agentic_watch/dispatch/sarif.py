"""SARIF 2.1 (OASIS, sarif-v2.1.0) as a report: what linters and scanners write.

Anybody may have written it: whatever has another shape than the standard's is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TypeVar
from urllib.parse import unquote

from agentic_watch.dispatch.report_sources import TEXT_AT_MOST, with_findings

_ABSENT = "absent"
_FAIL = "fail"
_ARGUMENT_AT_MOST = 200
_T = TypeVar("_T")


def report(document: dict[str, Any]) -> dict[str, Any]:
    """Findings, and `lint_passed`: no result of level error, and each tool ran to its end."""
    findings: list[dict[str, Any]] = []
    whole = True
    for run in _objects(document.get("runs")):
        findings += _findings(run)
        whole &= all(call.get("executionSuccessful") is not False for call in _objects(run.get("invocations")))
    return with_findings(findings) | {"lint_passed": whole and all(f["severity"] != "error" for f in findings)}


def _findings(run: dict[str, Any]) -> Iterator[dict[str, Any]]:
    tool = _object(run.get("tool"))
    driver = _object(tool.get("driver"))
    rules = _Rules(driver, _objects(tool.get("extensions")))
    for result in _objects(run.get("results")):
        # A suppressed result, one that is gone since the baseline, or one that passed, is nothing found.
        if result.get("suppressions") or result.get("baselineState") == _ABSENT or result.get("kind", _FAIL) != _FAIL:
            continue
        rule_id, rule = rules.of(result)
        yield _finding(_text(driver.get("name")), rule_id, result, rule)


class _Rules:
    """The rules of a run: the driver's, and those of its extensions (CodeQL's query packs)."""

    def __init__(self, driver: dict[str, Any], extensions: list[dict[str, Any]]) -> None:
        self._driver = _objects(driver.get("rules"))
        self._extensions = [_objects(extension.get("rules")) for extension in extensions]
        every = [rule for rules in (*reversed(self._extensions), self._driver) for rule in rules]
        self._by_id = {_text(rule.get("id")): rule for rule in every}

    def of(self, result: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The rule's id, and what is known of it: by its place where the result names one, else by its id."""
        named = _object(result.get("rule"))
        rule_id = _text(result.get("ruleId")) or _text(named.get("id"))
        component = _object(named.get("toolComponent")).get("index")
        rules = self._driver if component is None else _item(self._extensions, component, [])
        rule = _item(rules, named.get("index", result.get("ruleIndex")), {}) or self._by_id.get(rule_id, {})
        if rule_id and not _is_of(rule_id, rule):
            rule = self._by_id.get(rule_id, {})
        return rule_id or _text(rule.get("id")), rule


def _is_of(rule_id: str, rule: dict[str, Any]) -> bool:
    """Whether an id is a rule's, or that of a rule below it (`CA1000/1`: sarif-v2.1.0, 3.27.5)."""
    above = _text(rule.get("id"))
    return rule_id == above or rule_id.startswith(f"{above}/")


def _item(items: list[_T], index: Any, default: _T) -> _T:
    return items[index] if type(index) is int and 0 <= index < len(items) else default


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
        "message": _message(result.get("message")) or _message_by_id(_object(result.get("message")), rule),
        "file": unquote(_text(_object(location.get("artifactLocation")).get("uri"))).removeprefix("file://"),
        "line": _number(region.get("startLine")),
        "column": _number(region.get("startColumn")),
    }


def _message(value: Any) -> str:
    message = _object(value)
    return _text(message.get("text")) or _text(message.get("markdown"))


def _message_by_id(message: dict[str, Any], rule: dict[str, Any]) -> str:
    """A message that the rule holds, with this result's arguments for `{0}`, `{1}` … (sarif-v2.1.0, 3.11)."""
    text = _message(_object(rule.get("messageStrings")).get(_text(message.get("id"))))
    arguments = message.get("arguments")
    texts = [_text(argument)[:_ARGUMENT_AT_MOST] for argument in arguments] if isinstance(arguments, list) else []
    return re.sub(r"\{([0-9]{1,2})\}", lambda found: _item(texts, int(found[1]), found[0]), text)[:TEXT_AT_MOST]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value[:TEXT_AT_MOST] if isinstance(value, str) else ""


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
