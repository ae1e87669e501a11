"""What becomes of any file that checks left behind: a report, and its findings in bounds."""

from __future__ import annotations

from typing import Any, NamedTuple

FINDINGS_AT_MOST = 5000
"""More findings of one file are counted, not kept: a report is read whole at each commit."""
TEXT_AT_MOST = 2000


class Source(NamedTuple):
    """The report that a file holds, and a warning when not all of it could be read; "" when it could."""

    report: dict[str, Any]
    warning: str = ""


def with_findings(findings: list[dict[str, Any]]) -> dict[str, Any]:
    """A report with these findings, each without what is empty, and with the number of those left out."""
    kept = [{key: value for key, value in finding.items() if value} for finding in findings[:FINDINGS_AT_MOST]]
    left_out = len(findings) - len(kept)
    return {"findings": kept} | ({"findings_left_out": left_out} if left_out else {})
