"""Reads a file that checks left behind as a report: a report as it is, SARIF 2.1, or JUnit's XML."""

from __future__ import annotations

import os
from typing import Any

from agentic_watch.workspace import files
from agentic_watch.workspace.jsontext import load_object
from agentic_watch.workspace.workspace_errors import WorkspaceError, from_os_error

_LIMIT = 32 << 20
_MAX_VALUES = 2_000_000
_SLACK_NS = 2_000_000_000
"""Some file systems keep times in units of two seconds."""

FINDINGS_AT_MOST = 5000
"""More findings of one file are counted, not kept: a report is read whole at each commit."""
TEXT_AT_MOST = 2000


class Unreadable(Exception):
    """The file cannot be used; the text is the cause."""


def read(path: str, since_ns: int = 0) -> dict[str, Any]:
    """The report that the file holds; what it is its content tells. Raises Unreadable.

    A file older than `since_ns` (since the epoch) is of another run, and no verdict on this one.
    """
    try:
        directory = files.open_root(os.path.dirname(path) or ".")
    except OSError as error:
        raise Unreadable(from_os_error(os.path.dirname(path), error).cause) from error
    name = os.path.basename(path)
    try:
        data = files.read(directory, name, name, _LIMIT).data
        written_at = os.stat(name, dir_fd=directory).st_mtime_ns
    except WorkspaceError as error:
        raise Unreadable(error.cause) from error
    except OSError as error:
        raise Unreadable(error.strerror) from error
    finally:
        os.close(directory)
    if written_at + _SLACK_NS < since_ns:
        raise Unreadable("is older than the run")
    return parse(data)


def parse(data: bytes) -> dict[str, Any]:
    """The report in these bytes. Raises Unreadable."""
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        from agentic_watch.dispatch import junit

        return junit.report(data)
    try:
        document = load_object(data.removeprefix(b"\xef\xbb\xbf"), "", _MAX_VALUES)
    except WorkspaceError as error:
        raise Unreadable(error.cause) from error
    if isinstance(document.get("runs"), list) and str(document.get("version", "")).startswith("2."):
        from agentic_watch.dispatch import sarif

        return sarif.report(document)
    return document


def with_findings(findings: list[dict[str, Any]]) -> dict[str, Any]:
    """A report with these findings, each without what is empty, and with the number of those left out."""
    kept = [{key: value for key, value in finding.items() if value} for finding in findings[:FINDINGS_AT_MOST]]
    left_out = len(findings) - len(kept)
    return {"findings": kept} | ({"findings_left_out": left_out} if left_out else {})
