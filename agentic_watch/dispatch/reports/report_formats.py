"""Reads the output file of a check as a report, in a detected format: our own, SARIF 2.1 or JUnit XML."""

from __future__ import annotations

from typing import Any

from agentic_watch.dispatch import input_file
from agentic_watch.dispatch.input_file import MAX_VALUES, Unreadable
from agentic_watch.dispatch.reports.report_shape import NOWHERE, Clone, ReportSource
from agentic_watch.workspace.jsontext import load_object
from agentic_watch.workspace.workspace_errors import WorkspaceError

_SPACES = bytes(max(byte, 32) for byte in range(256))


def read(path: str, since_ns: int = 0, clone: Clone = NOWHERE) -> ReportSource:
    """Read the report in a file; the format is detected by its content. Raises Unreadable.

    A file older than `since_ns` (since the epoch) belongs to another run. Paths become relative to the top of `clone`.
    """
    return parse(input_file.read(path, since_ns), clone)


def parse(data: bytes, clone: Clone = NOWHERE) -> ReportSource:
    """Parse a report. Raises Unreadable."""
    text = input_file.utf_8(data)
    if text.lstrip().startswith(b"<"):
        from agentic_watch.dispatch.reports import junit

        return junit.source(text, clone, transcoded=data[:2] != text[:2])
    document, warning = _document(text)
    if isinstance(document.get("runs"), list) and str(document.get("version", "")).startswith("2."):
        from agentic_watch.dispatch.reports import sarif

        return ReportSource(sarif.report(document, clone), warning)
    refuse_result(document)
    return ReportSource(document, warning)


def refuse_result(document: dict[str, Any]) -> None:
    """Raise Unreadable for the result of an agent's program, because the model's text would be kept with it."""
    from agentic_watch.dispatch.agents import known_agents

    if writer := known_agents.writer(document):
        raise Unreadable(f"is the result of {writer}, not a report; give it with --usage")


def _document(data: bytes) -> tuple[dict[str, Any], str]:
    """A JSON object, and a warning if control characters in texts were replaced by spaces."""
    try:
        return load_object(data, "", MAX_VALUES), ""
    except WorkspaceError as error:
        try:
            return load_object(data.translate(_SPACES), "", MAX_VALUES), "held control characters; read without them"
        except WorkspaceError:
            raise Unreadable(error.cause) from error
