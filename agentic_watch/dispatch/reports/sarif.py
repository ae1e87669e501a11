"""Reads SARIF 2.1 (OASIS, sarif-v2.1.0) of linters and scanners as a report.

The file is not trusted: parts that do not follow the standard are ignored.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, TypeVar
from urllib.parse import unquote

from agentic_watch.dispatch.reports.report_shape import NOWHERE, TEXT_AT_MOST, Clone, with_findings
from agentic_watch.workspace.jsontext import object_in, objects_in

_T = TypeVar("_T")


def text_of(value: Any) -> str:
    """The text, shortened."""
    return value[:TEXT_AT_MOST] if isinstance(value, str) else ""


def number_of(value: Any) -> int:
    """The integer, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def item_at(items: list[_T], index: Any, default: _T) -> _T:
    """The item at an index of any type, else the default."""
    return items[index] if type(index) is int and 0 <= index < len(items) else default


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_DEEPEST = 10
"""A base URI may be relative to another one, possibly in a cycle."""


class Places:
    """Resolves the locations of a run's results by its artifacts and base URIs (sarif-v2.1.0, 3.4.4, 3.14.14)."""

    def __init__(self, run: dict[str, Any], clone: Clone) -> None:
        self._artifacts = objects_in(run.get("artifacts"))
        self._bases = object_in(run.get("originalUriBaseIds"))
        self._clone = clone

    def of(self, result: dict[str, Any]) -> dict[str, Any]:
        """The keys `file`, `line` and `column` of a finding."""
        first = next(iter(objects_in(result.get("locations"))), {})
        location = object_in(first.get("physicalLocation"))
        region = object_in(location.get("region"))
        return {
            "file": self._file(object_in(location.get("artifactLocation"))),
            "line": number_of(region.get("startLine")),
            "column": number_of(region.get("startColumn")),
        }

    def _file(self, location: dict[str, Any]) -> str:
        if not text_of(location.get("uri")):
            location = object_in(item_at(self._artifacts, location.get("index"), {}).get("location"))
        uri = text_of(location.get("uri"))
        whole = self._whole(location)
        if whole != uri and (inside := self._clone.below(_path(whole))):
            return inside
        # A base elsewhere is a directory of another host: use the path below it, which is the same everywhere.
        path = _path(uri)
        return path if _SCHEME.match(path) else self._clone.relative(path)

    def _whole(self, location: dict[str, Any]) -> str:
        """The URI with all its bases prepended."""
        uri = text_of(location.get("uri"))
        for _ in range(_DEEPEST):
            base = text_of(location.get("uriBaseId"))
            if not base or _SCHEME.match(uri):
                break
            location = object_in(self._bases.get(base))
            uri = os.path.join(text_of(location.get("uri")), uri)
        return uri


def _path(uri: str) -> str:
    """The path of a file URI or relative reference; other URIs unchanged."""
    if uri[:5].lower() == "file:":
        uri = re.sub(r"^//[^/]*", "", uri[5:])
    elif _SCHEME.match(uri):
        return uri
    return unquote(uri)


_ABSENT = "absent"
_FAIL = "fail"
_NOT_SUPPRESSING = ("rejected", "underReview")
_ARGUMENT_AT_MOST = 200


def report(document: dict[str, Any], clone: Clone = NOWHERE) -> dict[str, Any]:
    """Findings, and `lint_passed`: no result of level error, and every tool completed.

    No verdict without runs, or for a run without results, which means that nothing was checked (3.14.23).
    """
    findings: list[dict[str, Any]] = []
    runs = objects_in(document.get("runs"))
    whole = True
    for run in runs:
        findings += _findings(run, clone)
        whole &= all(call.get("executionSuccessful") is not False for call in objects_in(run.get("invocations")))
    if not whole or any(finding["severity"] == "error" for finding in findings):
        return with_findings(findings) | {"lint_passed": False}
    told = runs and all(isinstance(run.get("results"), list) for run in runs)
    return with_findings(findings) | ({"lint_passed": True} if told else {})


def _findings(run: dict[str, Any], clone: Clone) -> Iterator[dict[str, Any]]:
    tool = object_in(run.get("tool"))
    driver = object_in(tool.get("driver"))
    rules = _Rules(run, driver, objects_in(tool.get("extensions")))
    places = Places(run, clone)
    for result in objects_in(run.get("results")):
        # Results absent since the baseline, or passed ones, are no findings.
        if _is_suppressed(result) or result.get("baselineState") == _ABSENT or (result.get("kind") or _FAIL) != _FAIL:
            continue
        rule_id, rule = rules.of(result)
        level = text_of(result.get("level")) or rules.level(rule_id, rule) or "warning"
        yield _finding(text_of(driver.get("name")), rule_id, level, result, rule) | places.of(result)


def _is_suppressed(result: dict[str, Any]) -> bool:
    """Whether a result is suppressed by an accepted suppression, not one rejected or under review (3.27.23, 3.35.3)."""
    suppressions = objects_in(result.get("suppressions"))
    return bool(suppressions) and not any(one.get("status") in _NOT_SUPPRESSING for one in suppressions)


class _Rules:
    """The rules of a run: the driver's, and those of its extensions (CodeQL's query packs)."""

    def __init__(self, run: dict[str, Any], driver: dict[str, Any], extensions: list[dict[str, Any]]) -> None:
        self._driver = objects_in(driver.get("rules"))
        self._extensions = [objects_in(extension.get("rules")) for extension in extensions]
        every = [rule for rules in (*reversed(self._extensions), self._driver) for rule in rules]
        self._by_id = {text_of(rule.get("id")): rule for rule in every}
        self._overrides: dict[str, str] = {}
        for call in objects_in(run.get("invocations")):
            for override in objects_in(call.get("ruleConfigurationOverrides")):
                rule_id, rule = self._named(object_in(override.get("descriptor")), "")
                level = text_of(object_in(override.get("configuration")).get("level"))
                self._overrides.setdefault(rule_id or text_of(rule.get("id")), level)

    def of(self, result: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The rule's id and object: found by index if the result has one, else by id."""
        named = object_in(result.get("rule"))
        if named.get("index") is None:
            named = {**named, "index": result.get("ruleIndex")}
        rule_id, rule = self._named(named, text_of(result.get("ruleId")))
        return rule_id or text_of(rule.get("id")), rule

    def level(self, rule_id: str, rule: dict[str, Any]) -> str:
        """The level of a rule: as configured for this run (3.20.5), else its default."""
        above = text_of(rule.get("id"))
        overridden = self._overrides.get(rule_id) or self._overrides.get(above)
        return overridden or text_of(object_in(rule.get("defaultConfiguration")).get("level"))

    def _named(self, reference: dict[str, Any], rule_id: str) -> tuple[str, dict[str, Any]]:
        """Resolve a reportingDescriptorReference (3.52)."""
        rule_id = rule_id or text_of(reference.get("id"))
        component = object_in(reference.get("toolComponent")).get("index")
        rules = self._driver if component is None else item_at(self._extensions, component, [])
        rule = item_at(rules, reference.get("index"), {}) or self._by_id.get(rule_id, {})
        if rule_id and not _is_of(rule_id, rule):
            rule = self._by_id.get(rule_id, {})
        return rule_id, rule


def _is_of(rule_id: str, rule: dict[str, Any]) -> bool:
    """Whether an id is the rule's or that of a subrule (`CA1000/1`: 3.27.5)."""
    above = text_of(rule.get("id"))
    return rule_id == above or rule_id.startswith(f"{above}/")


def _finding(tool: str, rule_id: str, level: str, result: dict[str, Any], rule: dict[str, Any]) -> dict[str, Any]:
    message = object_in(result.get("message"))
    return {
        "tool": tool,
        "severity": level,
        "category": text_of(object_in(rule.get("properties")).get("category")),
        "rule_id": rule_id,
        "title": _message(rule.get("shortDescription")) or text_of(rule.get("name")),
        "message": _message(message) or _message_by_id(message, rule),
    }


def _message(value: Any) -> str:
    message = object_in(value)
    return text_of(message.get("text")) or text_of(message.get("markdown"))


def _message_by_id(message: dict[str, Any], rule: dict[str, Any]) -> str:
    """A message of the rule, with this result's arguments for `{0}`, `{1}` and so on (3.11)."""
    text = _message(object_in(rule.get("messageStrings")).get(text_of(message.get("id"))))
    arguments = message.get("arguments")
    texts = [text_of(argument)[:_ARGUMENT_AT_MOST] for argument in arguments] if isinstance(arguments, list) else []
    return re.sub(r"\{([0-9]{1,2})\}", lambda found: item_at(texts, int(found[1]), found[0]), text)[:TEXT_AT_MOST]
