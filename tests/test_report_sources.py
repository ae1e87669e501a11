"""SARIF, JUnit and JSON reports: what is read from them, and what hostile ones cannot do."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from agentic_watch.dispatch.report_sources import FINDINGS_AT_MOST, Unreadable, parse, read
from agentic_watch.dispatch.verdict import merged

JUNIT = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" tests="3">
<testcase classname="tests.test_a" name="test_one" file="tests/test_a.py" line="12" time="0.1"/>
<testcase classname="tests.test_a" name="test_two" file="tests/test_a.py" line="20">
<failure message="assert 1 == 2" type="AssertionError">def test_two():
&gt;   assert 1 == 2</failure></testcase>
<testcase classname="tests.test_b" name="test_three"><error message="no database"/></testcase>
<testcase name="skipped"><skipped/></testcase>
</testsuite></testsuites>"""

SARIF: dict[str, Any] = {
    "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
    "version": "2.1.0",
    "runs": [
        {
            "tool": {
                "driver": {
                    "name": "gosec",
                    "rules": [
                        {
                            "id": "G304",
                            "shortDescription": {"text": "File inclusion"},
                            "defaultConfiguration": {"level": "error"},
                            "properties": {"category": "security"},
                        }
                    ],
                }
            },
            "results": [
                {
                    "ruleId": "G304",
                    "message": {"text": "potential file inclusion"},
                    "locations": [
                        {
                            "physicalLocation": {
                                "artifactLocation": {"uri": "a%20b/service.go"},
                                "region": {"startLine": 44, "startColumn": 3},
                            }
                        }
                    ],
                },
                {"ruleIndex": 0, "level": "note", "message": {"text": "again"}},
                {"ruleId": "G304", "message": {"text": "accepted"}, "suppressions": [{"kind": "inSource"}]},
                {"ruleId": "G304", "message": {"text": "gone"}, "baselineState": "absent"},
                {"ruleId": "G304", "message": {"text": "fine"}, "kind": "pass"},
            ],
        }
    ],
}


def test_junit_becomes_findings_and_a_verdict() -> None:
    """Each failed test is a finding that is known again by its name; nothing failed is a verdict too."""
    report = parse(JUNIT)
    assert report["test_passed"] is False
    first, second = report["findings"]
    assert first == {
        "tool": "junit",
        "severity": "error",
        "category": "test",
        "rule_id": "tests.test_a.test_two",
        "title": "tests.test_a.test_two",
        "code": "AssertionError",
        "message": "assert 1 == 2\ndef test_two():\n>   assert 1 == 2",
        "file": "tests/test_a.py",
        "line": 20,
    }
    assert (second["rule_id"], second["message"]) == ("tests.test_b.test_three", "no database")
    assert parse(b"<testsuite><testcase name='a'/></testsuite>") == {"findings": [], "test_passed": True}
    assert parse(b"<testsuites/>") == {"findings": []}


def test_sarif_becomes_findings_and_a_verdict() -> None:
    """Level, rule and place come from where the standard has them; what is suppressed or gone is no finding."""
    report = parse(json.dumps(SARIF).encode())
    assert report["lint_passed"] is False
    assert report["findings"][0] == {
        "tool": "gosec",
        "severity": "error",
        "category": "security",
        "rule_id": "G304",
        "title": "File inclusion",
        "message": "potential file inclusion",
        "file": "a b/service.go",
        "line": 44,
        "column": 3,
    }
    assert [finding["message"] for finding in report["findings"]] == ["potential file inclusion", "again"]
    assert report["findings"][1]["severity"] == "note"


def test_a_json_report_is_taken_as_it_is() -> None:
    """Whatever its keys are; a byte order mark is passed over."""
    report = {"passed": True, "clusters": [1, 2], "findings": [{"tool": "x"}]}
    assert parse(b"\xef\xbb\xbf" + json.dumps(report).encode()) == report


def test_several_reports_become_one() -> None:
    """Findings stand together, one that fails is enough, and the same report twice adds nothing."""
    one, two = parse(JUNIT), parse(json.dumps(SARIF).encode())
    whole = merged([one, two, one, {"test_passed": True}])
    assert len(whole["findings"]) == 4
    assert (whole["test_passed"], whole["lint_passed"]) == (False, False)


BOMB = b"""<?xml version="1.0"?><!DOCTYPE z [<!ENTITY a "aaaaaaaaaa">
%s]><testsuite name="&j;"><testcase name="x"/></testsuite>""" % b"\n".join(
    b'<!ENTITY %c "%s">' % (letter + 1, b"&%c;" % letter * 10) for letter in range(ord("a"), ord("j"))
)
OUTSIDE = b'<!DOCTYPE t [<!ENTITY x SYSTEM "file:///etc/passwd">]><testsuite name="&x;"/>'


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (BOMB, "document type"),
        (OUTSIDE, "document type"),
        (b"<html><body/></html>", "not JUnit"),
        (b"<testsuite>", "not XML"),
        (b"<testsuite>" * 10_000, "not XML"),
        (b"<?xml version='1.0' encoding='none'?><testsuite/>", "cannot be decoded"),
        (b"", "is empty"),
        (b"[]", "not a JSON object"),
        (b'{"a":' * 100_000, "nested deeper"),
        (b'{"passed": NaN}', "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_hostile_reports_are_an_error_of_one_line(data: bytes, says: str) -> None:
    """Entity bombs, references to other files, endless nesting: the cause is said, nothing else happens."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Unreadable, match=says):
        parse(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


@pytest.mark.parametrize(
    "document",
    [
        {"version": "2.1.0", "runs": [None, {}, {"results": 1}, {"results": [None, {}, {"ruleIndex": 9}]}]},
        {"version": "2.1.0", "runs": [{"tool": [], "results": [{"locations": [{"physicalLocation": 1}]}]}]},
        {"version": "2.1.0", "runs": [{"results": [{"ruleId": 1, "message": "x", "level": {}, "rule": []}]}]},
    ],
)
def test_sarif_of_a_wrong_shape_breaks_nothing(document: dict[str, Any]) -> None:
    """What has another shape than the standard's is passed over."""
    report = parse(json.dumps(document).encode())
    assert all(finding == {"severity": "warning"} for finding in report["findings"])


def test_many_and_long_findings_are_bounded() -> None:
    """More than 5,000 findings are counted, not kept, and a text of a megabyte is cut."""
    cases = b"<testcase name='t'><failure message='%s'/></testcase>" % (b"m" * 10_000)
    report = parse(b"<testsuite>%s</testsuite>" % (cases * (FINDINGS_AT_MOST + 3)))
    assert (len(report["findings"]), report["findings_left_out"]) == (FINDINGS_AT_MOST, 3)
    assert len(report["findings"][0]["message"]) == 2000


def test_only_a_plain_file_of_this_run_is_read(tmp_path: Path) -> None:
    """A FIFO, a directory, a symlink, a file from before the run: each is said, none is waited for."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("/etc/passwd")
    (tmp_path / "old").write_text("{}", "utf-8")
    now = time.time_ns()
    for name, says in [
        ("fifo", "not a regular"),
        ("directory", "not a regular"),
        ("link", "symbolic"),
        ("no", "not there"),
    ]:
        with pytest.raises(Unreadable, match=says):
            read(str(tmp_path / name))
    assert read(str(tmp_path / "old"), now) == {}
    with pytest.raises(Unreadable, match="older"):
        read(str(tmp_path / "old"), now + 60_000_000_000)
