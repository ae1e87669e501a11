"""Reports in the shapes that widely used tools write them in, as files in fixtures/reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentic_watch.dispatch.reports.report_formats import parse

REPORTS = Path(__file__).parent / "fixtures" / "reports"


def report(name: str) -> dict[str, Any]:
    return parse((REPORTS / name).read_bytes()).report


@pytest.mark.parametrize(
    ("name", "failed"),
    [
        ("pytest.xml", ["tests.test_a.test_bad[1-2]", "tests.test_a.test_err"]),
        ("surefire.xml", ["com.acme.AppTest.adds", "com.acme.AppTest.rerun"]),
        ("go-junit-report.xml", ["example.org/x/pkg.TestB/sub", "example.org/x/broken.[build failed]"]),
        ("broken-suite.xml", ["eslint"]),
    ],
)
def test_failed_tests_are_findings_and_the_verdict(name: str, failed: list[str]) -> None:
    """Each test that failed is found by its name; one that passed at another try, or was skipped, is not."""
    found = report(name)
    assert [finding["rule_id"] for finding in found["findings"]] == failed
    assert found["test_passed"] is False


@pytest.mark.parametrize(
    ("name", "finding", "passed"),
    [
        ("ruff.sarif", ("ruff", "error", "F401", "unused import", "/src/a b.py", 1), False),
        ("eslint.sarif", ("ESLint", "warning", "no-unused-vars", "disallow unused variables", "/src/x.js", 1), True),
        ("semgrep.sarif", ("Semgrep OSS", "error", "python.lang.eval", "Semgrep Finding: eval", "a.py", 3), False),
    ],
)
def test_results_of_linters_are_findings(name: str, finding: tuple[Any, ...], passed: bool) -> None:
    """With the rule's own level where the result names none, and the file's plain name."""
    found = report(name)
    (one,) = found["findings"]
    assert tuple(one[key] for key in ("tool", "severity", "rule_id", "title", "file", "line")) == finding
    assert found["lint_passed"] is passed


def test_rules_of_an_extension_are_the_results_rules() -> None:
    """CodeQL has no rules of its own but those of its query packs: level, title and message stand there."""
    found = report("codeql.sarif")
    assert {(one["severity"], one["rule_id"]) for one in found["findings"]} == {("error", "py/sql-injection")}
    assert found["findings"][1]["message"] == "cursor.execute gets a query built from input {1}"
    assert found["lint_passed"] is False
