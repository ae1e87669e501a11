"""The optional `.meta/report.json`: results of checks on the agent's work."""

from __future__ import annotations

from typing import Any

from agentic_watch.workspace import files, layout
from agentic_watch.workspace.jsontext import load_object
from agentic_watch.workspace.workspace_errors import Missing, WorkspaceError


def read(meta: int, limit: int) -> tuple[dict[str, Any], str | None]:
    """Read the report; {} when there is none, with a warning when it is invalid.

    An invalid report must not prevent the commit, so it is omitted with a warning. A transient error (I/O, a held
    lease) is raised instead: the next attempt may succeed.
    """
    try:
        return parse(content(meta, limit))
    except WorkspaceError as error:
        if error.transient:
            raise
        return {}, f"{error}; committed without the report"


def content(meta: int, limit: int) -> bytes | None:
    """The bytes of the report, None when there is none. Raises WorkspaceError."""
    try:
        return files.read(meta, layout.REPORT, layout.META_REPORT, limit).data
    except Missing:
        return None


def parse(data: bytes | None) -> tuple[dict[str, Any], str | None]:
    """Parse the bytes; {} for None and, with a warning, for invalid content."""
    if data is None:
        return {}, None
    try:
        return load_object(data, layout.META_REPORT), None
    except WorkspaceError as error:
        return {}, f"{error}; committed without the report"


def findings(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The report's findings if they are a list of objects, else []."""
    value = report.get("findings")
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    return []


def changes(report: dict[str, Any]) -> dict[str, Any]:
    """The report's changes if they are an object, else {}."""
    value = report.get("changes")
    return value if isinstance(value, dict) else {}
