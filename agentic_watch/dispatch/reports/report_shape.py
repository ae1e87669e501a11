"""The common result of all report readers: a report with a limited number of findings.

Paths of findings are relative to the clone, so that findings match between clones.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple


class Clone(NamedTuple):
    """Base directories of a report's paths: `top` is git's top level, `beside` the report's own directory; "" is
    unknown."""

    top: str = ""
    beside: str = ""

    def below(self, path: str) -> str:
        """An absolute path relative to the top; "" when it is elsewhere. Compares text only."""
        top = f"{self.top.rstrip('/')}/"
        path = os.path.normpath(path)
        return path[len(top) :] if self.top and path.startswith(top) else ""

    def relative(self, path: str) -> str:
        """A report's path relative to the top if it is inside, else unchanged.

        A relative path starts at the top, or at the report's own directory if it exists only there.
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
"""Further findings of one file are only counted: a report is read completely at each commit."""
TEXT_AT_MOST = 2000


class ReportSource(NamedTuple):
    """The report of a file, and a warning when part of it could not be read, else ""."""

    report: dict[str, Any]
    warning: str = ""


def with_findings(findings: list[dict[str, Any]]) -> dict[str, Any]:
    """A report with these findings, without empty values, and with the number of omitted findings."""
    kept = [{key: value for key, value in finding.items() if value} for finding in findings[:FINDINGS_AT_MOST]]
    left_out = len(findings) - len(kept)
    return {"findings": kept} | ({"findings_left_out": left_out} if left_out else {})
