"""Reads JUnit XML of test runners as a report. There is no standard; this reads the common subset.

Parsed incrementally with the standard library's expat. A document type is rejected at its begin, because entity bombs
and external references need one, and no test runner writes one.
"""

from __future__ import annotations

import re
from typing import Any
from xml.parsers import expat

from agentic_watch.dispatch.input_file import Unreadable
from agentic_watch.dispatch.reports.report_shape import TEXT_AT_MOST, Clone, ReportSource, with_findings

_SUITES = frozenset({"testsuites", "testsuite"})
_BAD = frozenset({"failure", "error"})
_CONTROLS = bytes(0x3F if byte < 0x20 and byte not in b"\t\n\r" else byte for byte in range(256))
_NO_CHARACTERS = re.compile(
    rb"\xef\xbf[\xbe\xbf]|&#(?:0*(?:[0-8]|1[124-9]|2[0-9]|3[01])|[xX]0*(?:[0-8bBcCeEfF]|1[0-9a-fA-F]));"
)
_OTHER_ENCODING = re.compile(rb"""^<\?xml[^>]{0,200}encoding\s*=\s*["'](?!utf-?8["'])""", re.IGNORECASE)


def source(data: bytes, clone: Clone, *, transcoded: bool = False) -> ReportSource:
    """A finding for each failed test, and `test_passed`; no verdict when no test ran. Raises Unreadable.

    `transcoded` data is UTF-8, whatever its declaration says. Characters that XML forbids are replaced.
    """
    data = data.lstrip()
    encoding = "utf-8" if transcoded else None
    try:
        return ReportSource(_read(data, clone, encoding))
    except expat.ExpatError as error:
        mended = _mended(data, transcoded=transcoded)
        if mended == data:
            raise Unreadable(f"is not XML: {error}") from error
    try:
        return ReportSource(
            _read(mended, clone, encoding), "held characters that XML does not allow; read without them"
        )
    except expat.ExpatError as error:
        raise Unreadable(f"is not XML: {error}") from error


def _read(data: bytes, clone: Clone, encoding: str | None) -> dict[str, Any]:
    reader = _Reader(clone, encoding)
    try:
        reader.parser.Parse(data, True)
    except (LookupError, ValueError) as error:
        raise Unreadable(f"cannot be decoded: {error}") from error
    passed = reader.passed()
    return with_findings(reader.findings) | ({} if passed is None else {"test_passed": passed})


def _mended(data: bytes, *, transcoded: bool) -> bytes:
    """The document with `?` for characters that XML 1.0 forbids (2.2), and for undecodable bytes."""
    if transcoded or not _OTHER_ENCODING.match(data):
        data = data.decode("utf-8", "replace").encode("utf-8")
    return _NO_CHARACTERS.sub(b"?", data.translate(_CONTROLS))


class _Reader:
    """The state of parsing."""

    def __init__(self, clone: Clone, encoding: str | None) -> None:
        self.findings: list[dict[str, Any]] = []
        self._clone = clone
        self._cases = self._run = 0
        self._counted_run = 0
        self._counted_bad = 0
        self._suites: list[dict[str, str]] = []
        self._case: dict[str, str] = {}
        self._inside = self._skipped = self._seen_root = False
        self.parser = parser = expat.ParserCreate(encoding)
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text

    def passed(self) -> bool | None:
        """Whether all executed tests passed; None when none ran. A suite may count tests without listing them."""
        if self.findings or self._counted_bad:
            return False
        return True if (self._run if self._cases else self._counted_run) else None

    def _doctype(self, *_: Any) -> None:
        raise Unreadable("has a document type, which is not read")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._seen_root and name not in _SUITES:
            raise Unreadable(f"is XML, but not JUnit's: it begins with <{name[:40]}>")
        self._seen_root = True
        if name in _SUITES:
            self._count(attributes)
            self._suites.append(attributes)
        elif name == "testcase":
            self._cases += 1
            self._case = attributes
            self._skipped = attributes.get("status") == "notrun"  # googletest
        elif name == "skipped":
            self._skipped = True
        elif name in _BAD:
            self._inside = True
            self.findings.append(self._finding(attributes))

    def _count(self, suite: dict[str, str]) -> None:
        tests, skipped, disabled, failures, errors = (
            _number(suite.get(key, "")) for key in ("tests", "skipped", "disabled", "failures", "errors")
        )
        self._counted_bad += failures + errors
        self._counted_run += max(0, tests - skipped - disabled)

    def _end(self, name: str) -> None:
        if name in _BAD and self._inside:
            self._inside = False
            self.findings[-1]["message"] = self.findings[-1]["message"].strip()
        elif name == "testcase":
            self._run += not self._skipped
            self._case = {}
        elif name in _SUITES:
            self._suites.pop()

    def _text(self, data: str) -> None:
        if self._inside:
            told = self.findings[-1]["message"]
            self.findings[-1]["message"] = told + data[: max(0, TEXT_AT_MOST - len(told))]

    def _finding(self, attributes: dict[str, str]) -> dict[str, Any]:
        suite = self._suites[-1] if self._suites else {}
        case = self._case
        owner = case.get("classname") or suite.get("name", "")
        test = ".".join(part for part in (self._clone.below(owner) or owner, case.get("name", "")) if part)
        told = attributes.get("message", "")[:TEXT_AT_MOST]
        return {
            "tool": "junit",
            "severity": "error",
            "category": "test",
            "rule_id": test[:TEXT_AT_MOST],
            "title": test[:TEXT_AT_MOST],
            "code": attributes.get("type", "")[:TEXT_AT_MOST],
            "message": f"{told}\n" if told else "",
            "file": self._clone.relative((case.get("file") or suite.get("file", ""))[:TEXT_AT_MOST]),
            "line": _number(case.get("line", "")),
        }


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
