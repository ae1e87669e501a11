"""Our own shape, for whatever prints none of the others: `{"usage": {…}, "error": "why it failed"}`, or `usage` alone.

The keys of `usage` are those of the report's; all of it is optional.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from agentic_watch.dispatch.agents.agent_result import (
    AgentResult,
    Usage,
    cause,
    count,
    dollars,
    models,
    name,
    object_in,
)

_KEYS = frozenset(field.name for field in fields(Usage))
_COUNTS = _KEYS - {"cost_usd", "models", "session_id", "agent_version"}


def knows(event: dict[str, Any]) -> bool:
    """Whether this is in our own shape."""
    if "type" in event:
        return False
    return isinstance(event.get("usage"), dict) or (bool(event) and event.keys() <= _KEYS | {"error"})


def read(events: Sequence[dict[str, Any]]) -> AgentResult:
    """What the last such object says."""
    event = next(event for event in reversed(events) if knows(event))
    used = object_in(event.get("usage", event))
    counts: dict[str, Any] = {key: count(used.get(key)) for key in _COUNTS}
    listed = used.get("models")
    return AgentResult(
        Usage(
            **counts,
            cost_usd=dollars(used.get("cost_usd"), None),
            models=models(listed if isinstance(listed, list) else ()),
            session_id=name(used.get("session_id")),
            agent_version=name(used.get("agent_version")),
        ),
        cause(event.get("error")),
    )
