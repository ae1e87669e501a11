"""Reads a file that checks left behind as a report: a report as it is, SARIF 2.1, or JUnit's XML."""

from __future__ import annotations

from typing import Any, NamedTuple

from agentic_watch.dispatch import left_file
from agentic_watch.dispatch.left_file import MAX_VALUES, Unreadable
from agentic_watch.dispatch.reports.clone_paths import NOWHERE, Clone
from agentic_watch.workspace.jsontext import load_object
from agentic_watch.workspace.workspace_errors import WorkspaceError

FINDINGS_AT_MOST = 5000
"""More findings of one file are counted, not kept: a report is read whole at each commit."""
TEXT_AT_MOST = 2000
_SPACES = bytes(max(byte, 32) for byte in range(256))


class Source(NamedTuple):
    """The report that a file holds, and a warning when not all of it could be read; "" when it could."""

    report: dict[str, Any]
    warning: str = ""


def read(path: str, since_ns: int = 0, clone: Clone = NOWHERE) -> Source:
    """The report that the file holds; what it is its content tells. Raises Unreadable.

    A file older than `since_ns` (since the epoch) is of another run. Paths become relative to the top of `clone`.
    """
    return parse(left_file.read(path, since_ns), clone)


def parse(data: bytes, clone: Clone = NOWHERE) -> Source:
    """The report in these bytes. Raises Unreadable."""
    text = left_file.utf_8(data)
    if text.lstrip().startswith(b"<"):
        from agentic_watch.dispatch.reports import junit

        return junit.source(text, clone, transcoded=data[:2] != text[:2])
    document, warning = _document(text)
    if isinstance(document.get("runs"), list) and str(document.get("version", "")).startswith("2."):
        from agentic_watch.dispatch.reports import sarif

        return Source(sarif.report(document, clone), warning)
    refuse_result(document)
    return Source(document, warning)


def refuse_result(document: dict[str, Any]) -> None:
    """Raise Unreadable for what an agent's program printed: the model's words would be kept with it."""
    from agentic_watch.dispatch.agents import known_agents

    if writer := known_agents.writer(document):
        raise Unreadable(f"is the result of {writer}, no report; give it with --usage")


def _document(data: bytes) -> tuple[dict[str, Any], str]:
    """A JSON object, and a warning where control characters in its texts had to become spaces."""
    try:
        return load_object(data, "", MAX_VALUES), ""
    except WorkspaceError as error:
        try:
            return load_object(data.translate(_SPACES), "", MAX_VALUES), "held control characters; read without them"
        except WorkspaceError:
            raise Unreadable(error.cause) from error


def with_findings(findings: list[dict[str, Any]]) -> dict[str, Any]:
    """A report with these findings, each without what is empty, and with the number of those left out."""
    kept = [{key: value for key, value in finding.items() if value} for finding in findings[:FINDINGS_AT_MOST]]
    left_out = len(findings) - len(kept)
    return {"findings": kept} | ({"findings_left_out": left_out} if left_out else {})
