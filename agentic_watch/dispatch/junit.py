"""JUnit's XML as a report: what test runners write. There is no standard; this is what all of them have in common.

Read element by element with the standard library's expat. A document type is refused before anything in it is read:
it is what entity bombs and references to other files need, and no test runner writes one.
"""

from __future__ import annotations

from typing import Any
from xml.parsers import expat

from agentic_watch.dispatch.report_sources import TEXT_AT_MOST, Unreadable, with_findings

_SUITES = frozenset({"testsuites", "testsuite"})
_BAD = frozenset({"failure", "error"})


def report(data: bytes) -> dict[str, Any]:
    """A finding for each test that failed, and `test_passed`; no verdict when no test was run. Raises Unreadable."""
    reader = _Reader()
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise Unreadable(f"is not XML: {error}") from error
    except (LookupError, ValueError) as error:
        raise Unreadable(f"cannot be decoded: {error}") from error
    told = reader.tests or reader.findings  # a suite that broke before its first test says so itself
    return with_findings(reader.findings) | ({"test_passed": not reader.findings} if told else {})


class _Reader:
    """What was met so far."""

    def __init__(self) -> None:
        self.tests = 0
        self.findings: list[dict[str, Any]] = []
        self._suites: list[dict[str, str]] = []
        self._case: dict[str, str] = {}
        self._inside = False
        self._seen_root = False
        self.parser = parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text

    def _doctype(self, *_: Any) -> None:
        raise Unreadable("has a document type, which is not read")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._seen_root and name not in _SUITES:
            raise Unreadable(f"is XML, but not JUnit's: it begins with <{name[:40]}>")
        self._seen_root = True
        if name == "testsuite":
            self._suites.append(attributes)
        elif name == "testcase":
            self.tests += 1
            self._case = attributes
        elif name in _BAD:
            self._inside = True
            self.findings.append(self._finding(attributes))

    def _end(self, name: str) -> None:
        if name in _BAD and self._inside:
            self._inside = False
            self.findings[-1]["message"] = self.findings[-1]["message"].strip()
        elif name == "testcase":
            self._case = {}
        elif name == "testsuite":
            self._suites.pop()

    def _text(self, data: str) -> None:
        if self._inside:
            told = self.findings[-1]["message"]
            self.findings[-1]["message"] = told + data[: max(0, TEXT_AT_MOST - len(told))]

    def _finding(self, attributes: dict[str, str]) -> dict[str, Any]:
        suite = self._suites[-1] if self._suites else {}
        case = self._case
        owner = case.get("classname") or suite.get("name", "")
        test = ".".join(part for part in (owner, case.get("name", "")) if part)
        line = case.get("line", "")
        told = attributes.get("message", "")[:TEXT_AT_MOST]
        return {
            "tool": "junit",
            "severity": "error",
            "category": "test",
            "rule_id": test[:TEXT_AT_MOST],
            "title": test[:TEXT_AT_MOST],
            "code": attributes.get("type", "")[:TEXT_AT_MOST],
            "message": f"{told}\n" if told else "",
            "file": (case.get("file") or suite.get("file", ""))[:TEXT_AT_MOST],
            "line": int(line) if line.isascii() and line.isdecimal() and len(line) < 10 else 0,
        }
