"""SARIF 2.1 (OASIS, sarif-v2.1.0) as a report: what linters and scanners write.

Anybody may have written it: whatever has another shape than the standard's is passed over.
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
    """The text, cut where it is long."""
    return value[:TEXT_AT_MOST] if isinstance(value, str) else ""


def number_of(value: Any) -> int:
    """The integer, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def item_at(items: list[_T], index: Any, default: _T) -> _T:
    """The item at an index that may be anything."""
    return items[index] if type(index) is int and 0 <= index < len(items) else default


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_DEEPEST = 10
"""A base may lie below another one, and that below itself when somebody wrote it so."""


class Places:
    """The places of a run's results: what its artifacts and base URIs say (sarif-v2.1.0, 3.4.4, 3.14.14)."""

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
        # A base that lies elsewhere is a directory of another host: the path below it is the same on each.
        path = _path(uri)
        return path if _SCHEME.match(path) else self._clone.relative(path)

    def _whole(self, location: dict[str, Any]) -> str:
        """The URI with all of its bases before it."""
        uri = text_of(location.get("uri"))
        for _ in range(_DEEPEST):
            base = text_of(location.get("uriBaseId"))
            if not base or _SCHEME.match(uri):
                break
            location = object_in(self._bases.get(base))
            uri = os.path.join(text_of(location.get("uri")), uri)
        return uri


def _path(uri: str) -> str:
    """The path of a file URI or of a relative reference; another URI as it is."""
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
    """Findings, and `lint_passed`: no result of level error, and each tool ran to its end.

    A run without results says that nothing was looked for (3.14.23), and no runs say nothing: no verdict.
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
        # One that is gone since the baseline, or that passed, is nothing found.
        if _is_suppressed(result) or result.get("baselineState") == _ABSENT or (result.get("kind") or _FAIL) != _FAIL:
            continue
        rule_id, rule = rules.of(result)
        level = text_of(result.get("level")) or rules.level(rule_id, rule) or "warning"
        yield _finding(text_of(driver.get("name")), rule_id, level, result, rule) | places.of(result)


def _is_suppressed(result: dict[str, Any]) -> bool:
    """Whether a result is suppressed: not by what was rejected, or is still under review (3.27.23, 3.35.3)."""
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
        """The rule's id, and what is known of it: by its place where the result names one, else by its id."""
        named = object_in(result.get("rule"))
        if named.get("index") is None:
            named = {**named, "index": result.get("ruleIndex")}
        rule_id, rule = self._named(named, text_of(result.get("ruleId")))
        return rule_id or text_of(rule.get("id")), rule

    def level(self, rule_id: str, rule: dict[str, Any]) -> str:
        """The level of a rule's results: as this run had it configured (3.20.5), else as the rule is by default."""
        above = text_of(rule.get("id"))
        overridden = self._overrides.get(rule_id) or self._overrides.get(above)
        return overridden or text_of(object_in(rule.get("defaultConfiguration")).get("level"))

    def _named(self, reference: dict[str, Any], rule_id: str) -> tuple[str, dict[str, Any]]:
        """What a reportingDescriptorReference names (3.52)."""
        rule_id = rule_id or text_of(reference.get("id"))
        component = object_in(reference.get("toolComponent")).get("index")
        rules = self._driver if component is None else item_at(self._extensions, component, [])
        rule = item_at(rules, reference.get("index"), {}) or self._by_id.get(rule_id, {})
        if rule_id and not _is_of(rule_id, rule):
            rule = self._by_id.get(rule_id, {})
        return rule_id, rule


def _is_of(rule_id: str, rule: dict[str, Any]) -> bool:
    """Whether an id is a rule's, or that of a rule below it (`CA1000/1`: 3.27.5)."""
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
    """A message that the rule holds, with this result's arguments for `{0}`, `{1}` … (3.11)."""
    text = _message(object_in(rule.get("messageStrings")).get(text_of(message.get("id"))))
    arguments = message.get("arguments")
    texts = [text_of(argument)[:_ARGUMENT_AT_MOST] for argument in arguments] if isinstance(arguments, list) else []
    return re.sub(r"\{([0-9]{1,2})\}", lambda found: item_at(texts, int(found[1]), found[0]), text)[:TEXT_AT_MOST]
