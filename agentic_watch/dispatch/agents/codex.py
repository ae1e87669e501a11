"""Codex: `codex exec --json` (0.171).

Its input tokens include the cache, its output tokens the reasoning. A resumed thread counts from its beginning. It
reports no model and no price. An `error` event may be followed by a retry; `turn.failed` is final.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentic_watch.dispatch.agents.agent_result import UNNAMED, AgentResult, Usage, cause, count, minus, name
from agentic_watch.workspace.jsontext import object_in

_COMPLETED, _FAILED = "turn.completed", "turn.failed"
_KNOWN = frozenset({"thread.started", "turn.started", _COMPLETED, _FAILED})
_DECLINED = "declined"


def knows(event: dict[str, Any]) -> bool:
    """Whether Codex printed this."""
    return name(event.get("type")) in _KNOWN


def read(events: Sequence[dict[str, Any]]) -> AgentResult:
    """Its result: how the last turn ended."""
    threads = [name(event.get("thread_id")) for event in events if event.get("type") == "thread.started"]
    ends = [event for event in events if event.get("type") in (_COMPLETED, _FAILED)]
    end = ends[-1] if ends else {}
    error = ""
    if end.get("type") == _FAILED:
        error = cause(object_in(end.get("error")).get("message")) or UNNAMED
    elif not end:
        said = [cause(event.get("message")) for event in events if event.get("type") == "error"]
        error = next((text for text in reversed(said) if text), "")
    items = [object_in(event.get("item")) for event in events if event.get("type") == "item.completed"]
    return AgentResult(
        _usage(object_in(end.get("usage")), threads[-1] if threads else ""),
        error,
        ended=bool(end or error),
        denied=tuple(name(item.get("type")) for item in items if item.get("status") == _DECLINED),
        whole_session=True,
    )


def _usage(used: dict[str, Any], thread: str) -> Usage:
    cached, written = count(used.get("cached_input_tokens")), count(used.get("cache_write_input_tokens"))
    return Usage(
        input_tokens=minus(count(used.get("input_tokens")), cached, written),
        cache_read_tokens=cached,
        cache_write_tokens=written,
        output_tokens=count(used.get("output_tokens")),
        reasoning_tokens=count(used.get("reasoning_output_tokens")),
        session_id=thread,
    )
