"""opencode: `opencode run --format json` (1.18). It reports usage per step; output tokens exclude reasoning.

A step that ends with "tool-calls" is followed by another one. The model is not reported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from agentic_watch.dispatch.agents.agent_result import UNNAMED, AgentResult, Usage, cause, dollars, name, plus, total
from agentic_watch.workspace.jsontext import object_in

_GOES_ON = "tool-calls"
_CUT_SHORT = frozenset({"length", "content-filter", "error"})
_DENIED = re.compile(r"rejected permission|rule which prevents", re.IGNORECASE)


def knows(event: dict[str, Any]) -> bool:
    """Whether opencode printed this."""
    return "sessionID" in event and "type" in event


def read(events: Sequence[dict[str, Any]]) -> AgentResult:
    """Its result: the sum of all steps, and the end of the last one."""
    steps = [object_in(event.get("part")) for event in events if event.get("type") == "step_finish"]
    tools = [object_in(event.get("part")) for event in events if event.get("type") == "tool_use"]
    sessions = [name(event.get("sessionID")) for event in events]
    error = next((_error(event) for event in reversed(events) if event.get("type") == "error"), "")
    reason = name(steps[-1].get("reason")) if steps else ""
    if not error and reason in _CUT_SHORT:
        error = f"the model's answer ended early: {reason}"
    return AgentResult(
        _usage(steps, next((session for session in reversed(sessions) if session), "")),
        error,
        ended=bool(error) or reason not in ("", _GOES_ON),
        denied=tuple(name(tool.get("tool")) or "a tool" for tool in tools if _is_denied(tool)),
    )


def _error(event: dict[str, Any]) -> str:
    error = object_in(event.get("error"))
    told = cause(object_in(error.get("data")).get("message")) or cause(error.get("message"))
    return told or name(error.get("name")) or UNNAMED


def _is_denied(tool: dict[str, Any]) -> bool:
    state = object_in(tool.get("state"))
    return state.get("status") == "error" and bool(_DENIED.search(cause(state.get("error"))))


def _usage(steps: list[dict[str, Any]], session: str) -> Usage:
    tokens = [object_in(step.get("tokens")) for step in steps]
    caches = [used.get("cache") for used in tokens]
    reasoning = total(tokens, "reasoning")
    output = plus([total(tokens, "output"), reasoning])
    prices = [dollars(step.get("cost"), None) for step in steps]
    return Usage(
        input_tokens=total(tokens, "input"),
        cache_read_tokens=total(caches, "read"),
        cache_write_tokens=total(caches, "write"),
        output_tokens=output,
        reasoning_tokens=reasoning,
        cost_usd=dollars(plus(prices), output),
        requests=len(steps) or None,
        session_id=session,
    )
