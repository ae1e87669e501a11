"""SARIF, JUnit and JSON reports: what is read from them, and what hostile ones cannot do."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from dispatch_support import clone, dispatch
from support import Host, run

from agentic_watch.dispatch.input_file import Unreadable
from agentic_watch.dispatch.reports import report_formats
from agentic_watch.dispatch.reports.report_formats import read
from agentic_watch.dispatch.reports.report_shape import FINDINGS_AT_MOST, NOWHERE, Clone
from agentic_watch.dispatch.run_report import merged

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


def parse(data: bytes, clone: Clone = NOWHERE) -> dict[str, Any]:
    """The report in these bytes, which holds nothing that could not be read."""
    found = report_formats.parse(data, clone)
    assert found.warning == ""
    return found.report


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
        (b"\xff\xfe", "is empty"),
        (b"\xff", "not UTF-8"),
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
    assert read(str(tmp_path / "old"), now).report == {}
    with pytest.raises(Unreadable, match="older"):
        read(str(tmp_path / "old"), now + 60_000_000_000)


def sarif(*results: dict[str, Any], **run: Any) -> bytes:
    """A SARIF file with one run."""
    whole = {"tool": {"driver": {"name": "x", "rules": [{"id": "R1"}]}}, "results": list(results), **run}
    return json.dumps({"version": "2.1.0", "runs": [whole]}).encode()


def at(uri: str | None, **location: Any) -> dict[str, Any]:
    """A result whose file is this."""
    place = {**location, **({"uri": uri} if uri is not None else {})}
    return {"ruleId": "R1", "message": {"text": "m"}, "locations": [{"physicalLocation": {"artifactLocation": place}}]}


BASES = {"TOP": {"uri": "file:///srv/a/"}, "SRC": {"uri": "src/", "uriBaseId": "TOP"}, "LOOP": {"uriBaseId": "LOOP"}}


@pytest.mark.parametrize(
    ("result", "file"),
    [
        (at("file:///srv/a/src/a%20b.py"), "src/a b.py"),
        (at("file://localhost/srv/a/src/x.py"), "src/x.py"),
        (at("FILE:/srv/a/src/x.py"), "src/x.py"),
        (at("/srv/a/src/../x.py"), "x.py"),
        (at("file:///srv/ab/x.py"), "/srv/ab/x.py"),
        (at("https://example.org/x.py"), "https://example.org/x.py"),
        (at("x.py", uriBaseId="SRC"), "src/x.py"),
        (at("x.py", uriBaseId="NOWHERE"), "x.py"),
        (at("x.py", uriBaseId="LOOP"), "x.py"),
        (at(None, index=0), "lib/y.py"),
        (at("../z.py"), "z.py"),
    ],
)
def test_a_result_s_file_is_relative_to_the_clone(result: dict[str, Any], file: str) -> None:
    """Absolute URIs, base URIs, artifacts by index: two clones of a repository say the same of one file."""
    artifacts = [{"location": {"uri": "file:///srv/a/lib/y.py"}}]
    data = sarif(result, originalUriBaseIds=BASES, artifacts=artifacts)
    (found,) = parse(data, Clone("/srv/a", "/srv/a/out"))["findings"]
    assert found["file"] == file


def test_a_base_of_another_host_is_left_out() -> None:
    """Where the base is a directory that is not here, what is below it is the path."""
    data = sarif(at("src/x.py", uriBaseId="ROOT"), originalUriBaseIds={"ROOT": {"uri": "file:///home/runner/work/"}})
    (found,) = parse(data, Clone("/srv/a", "/srv/a"))["findings"]
    assert found["file"] == "src/x.py"


def test_a_relative_file_may_stand_beside_its_report(tmp_path: Path) -> None:
    """A path that only exists below the report's directory counts from there, in SARIF and JUnit alike."""
    for name in ("web/src/x.js", "src/y.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    clone = Clone(str(tmp_path), str(tmp_path / "web"))
    found = parse(sarif(at("src/x.js"), at("src/y.js"), at("gone.js")), clone)["findings"]
    assert [one["file"] for one in found] == ["web/src/x.js", "src/y.js", "gone.js"]
    case = "<testcase classname='%s/web/src/x' name='t' file='%s/web/src/x.js'><failure/></testcase>"
    data = f"<testsuite>{case % (tmp_path, tmp_path)}</testsuite>".encode()
    (one,) = parse(data, clone)["findings"]
    assert (one["file"], one["rule_id"]) == ("web/src/x.js", "web/src/x.t")


@pytest.mark.parametrize(
    ("data", "severities", "passed"),
    [
        (sarif({"level": "error", "suppressions": [{"status": "rejected"}]}), ["error"], False),
        (
            sarif({"level": "error", "suppressions": [{"status": "accepted"}, {"status": "underReview"}]}),
            ["error"],
            False,
        ),
        (sarif({"level": "error", "suppressions": [{"kind": "external"}]}), [], True),
        (sarif({"level": "error", "suppressions": []}), ["error"], False),
        (sarif({"level": "error", "kind": None}), ["error"], False),
        (sarif({"level": "error", "kind": "open"}), [], True),
        (
            sarif(
                {"ruleId": "R1/sub", "ruleIndex": 0},
                {"ruleId": "R1", "level": "note"},
                invocations=[
                    {
                        "executionSuccessful": True,
                        "ruleConfigurationOverrides": [
                            {"descriptor": {"index": 0}, "configuration": {"level": "error"}}
                        ],
                    }
                ],
            ),
            ["error", "note"],
            False,
        ),
        (b'{"version": "2.1.0", "runs": []}', [], None),
        (b'{"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "x"}}}]}', [], None),
        (b'{"version": "2.1.0", "runs": [{"results": null}]}', [], None),
        (b'{"version": "2.1.0", "runs": [{"results": []}, {"results": null}]}', [], None),
        (
            b'{"version": "2.1.0", "runs": [{"results": null, "invocations": [{"executionSuccessful": false}]}]}',
            [],
            False,
        ),
    ],
)
def test_what_the_standard_says_of_a_verdict(data: bytes, severities: list[str], passed: bool | None) -> None:
    """Only an accepted suppression is one, a level may be overridden, and what was not looked for says nothing."""
    report = parse(data)
    assert [finding["severity"] for finding in report["findings"]] == severities
    assert report.get("lint_passed") is passed


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ("<testsuite tests='3' failures='2'/>", False),
        ("<testsuites failures='1'><testsuite><testcase name='a'/></testsuite></testsuites>", False),
        ("<testsuite errors='1'><testcase name='a'/></testsuite>", False),
        ("<testsuite><error message='no database'/></testsuite>", False),
        ("<testsuite><testcase name='a'><skipped/><skipped/></testcase></testsuite>", None),
        ("<testsuite tests='2' skipped='2'/>", None),
        ("<testsuite tests='1'><testcase name='a' status='notrun'/></testsuite>", None),
        ("<testsuite><testcase name='a'><skipped/></testcase><testcase name='b'/></testsuite>", True),
        ("<testsuite tests='2' skipped='1'/>", True),
    ],
)
def test_what_a_suite_only_counts_is_counted(text: str, passed: bool | None) -> None:
    """Failures without elements, a suite in error: not passed; tests that were all skipped are no verdict."""
    assert parse(text.encode()).get("test_passed") is passed


BROKEN = "<testsuite><testcase name='t'><failure message='%s'>esc \x1b[31m</failure></testcase></testsuite>"


@pytest.mark.parametrize(
    ("data", "message", "warns"),
    [
        ((BROKEN % "a").encode(), "a\nesc ?[31m", True),
        ((BROKEN % "a&#27;&#x1B;&#10;b").encode().replace(b"\x1b", b""), "a??\nb\nesc [31m", True),
        ((BROKEN % "\xe9").encode("latin-1").replace(b"\x1b", b""), "\ufffd\nesc [31m", True),
        (b'<?xml version="1.0" encoding="latin-1"?>' + (BROKEN % "\xe9").encode("latin-1"), "\xe9\nesc ?[31m", True),
        (b"\n \n<?xml version='1.0'?>" + (BROKEN % "a").encode().replace(b"\x1b", b""), "a\nesc [31m", False),
        (
            ('<?xml version="1.0" encoding="utf-16"?>' + BROKEN % "\u20ac").replace("\x1b", "").encode("utf-16"),
            "\u20ac\nesc [31m",
            False,
        ),
        ((BROKEN % "\u20ac").replace("\x1b", "").encode("utf-16-le"), "\u20ac\nesc [31m", False),
        (b"\xef\xbb\xbf\n" + (BROKEN % "a").encode().replace(b"\x1b", b""), "a\nesc [31m", False),
    ],
)
def test_a_character_costs_no_report(data: bytes, message: str, warns: bool) -> None:
    """Control characters, bytes of another encoding, a blank line before the declaration, UTF-16: read all the same."""
    found = report_formats.parse(data)
    assert [one["message"] for one in found.report["findings"]] == [message]
    assert found.report["test_passed"] is False
    assert found.warning == ("held characters that XML does not allow; read without them" if warns else "")


def test_json_of_other_writers_is_read() -> None:
    """UTF-16 as PowerShell writes it, with its mark or without, and a control character in a text, which is told."""
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        assert parse('{"passed": true, "note": "\u20ac"}'.encode(encoding)) == {"passed": True, "note": "\u20ac"}
    found = report_formats.parse(b'{"passed": false,\n"note": "a\x1bb"}')
    assert found == ({"passed": False, "note": "a b"}, "held control characters; read without them")


def test_findings_of_two_clones_are_the_same(host: Host) -> None:
    """Linters write absolute file URIs: what stays in a second clone stays, and nothing is new or gone."""
    for name in ("one", "two"):
        place = clone(host.base / name)
        (place / "src").mkdir()
        text = sarif(at((place / "kept.txt").as_uri()), at((place / "src" / "a b.py").as_uri())).decode()
        (place / "ruff.sarif").write_text(text, "utf-8")
        dispatch(host, "-q", "--report", "../ruff.sarif", "--", "touch", "../ruff.sarif", cwd=place / "src")
    host.once()

    def found(*options: str) -> list[str]:
        answer = run([*host.arguments(), "findings", "--json", *options], host.base)
        return [row["file"] for row in json.loads(answer.stdout)["rows"]]

    assert (found("--persistent", "2"), found("--new"), found("--gone")) == (["kept.txt", "src/a b.py"], [], [])
