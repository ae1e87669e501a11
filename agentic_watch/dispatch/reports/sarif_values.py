"""Values of a SARIF file that anybody may have written: of the type that is asked for, or empty."""

from __future__ import annotations

from typing import Any, TypeVar

from agentic_watch.dispatch.reports.report_shape import TEXT_AT_MOST

_T = TypeVar("_T")


def object_of(value: Any) -> dict[str, Any]:
    """The object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects_of(value: Any) -> list[dict[str, Any]]:
    """The objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_of(value: Any) -> str:
    """The text, cut where it is long."""
    return value[:TEXT_AT_MOST] if isinstance(value, str) else ""


def number_of(value: Any) -> int:
    """The integer, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def item_at(items: list[_T], index: Any, default: _T) -> _T:
    """The item at an index that may be anything."""
    return items[index] if type(index) is int and 0 <= index < len(items) else default
