"""What becomes of any file that checks left behind: a report, and its findings in bounds.

Paths of findings relative to the clone: a finding is the same in two clones only when its path is.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple


class Clone(NamedTuple):
    """Where a report's paths begin: `top` is git's top level, `beside` the report's own directory; "" is unknown."""

    top: str = ""
    beside: str = ""

    def below(self, path: str) -> str:
        """An absolute path as one relative to the top; "" where it lies elsewhere. No file is asked."""
        top = f"{self.top.rstrip('/')}/"
        path = os.path.normpath(path)
        return path[len(top) :] if self.top and path.startswith(top) else ""

    def relative(self, path: str) -> str:
        """A path as a report has it, relative to the top where it lies below it; else as it is.

        One that is relative already counts from the top, or from the report's own directory if only there it exists.
        """
        if not self.top or not path or "\0" in path:
            return path
        if os.path.isabs(path):
            return self.below(path) or path
        plain = os.path.normpath(path)
        beside = os.path.join(self.beside, plain)
        if plain.startswith("../") or (not os.path.lexists(os.path.join(self.top, plain)) and os.path.lexists(beside)):
            return self.below(beside) or path
        return plain


NOWHERE = Clone()


FINDINGS_AT_MOST = 5000
"""More findings of one file are counted, not kept: a report is read whole at each commit."""
TEXT_AT_MOST = 2000


class ReportSource(NamedTuple):
    """The report that a file holds, and a warning when not all of it could be read; "" when it could."""

    report: dict[str, Any]
    warning: str = ""


def with_findings(findings: list[dict[str, Any]]) -> dict[str, Any]:
    """A report with these findings, each without what is empty, and with the number of those left out."""
    kept = [{key: value for key, value in finding.items() if value} for finding in findings[:FINDINGS_AT_MOST]]
    left_out = len(findings) - len(kept)
    return {"findings": kept} | ({"findings_left_out": left_out} if left_out else {})
