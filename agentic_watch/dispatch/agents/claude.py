"""Claude Code: `claude -p --output-format json` or `stream-json` (2.1).

`subtype` is "success" even for a failed request: `is_error` decides. `usage` excludes subagents, `modelUsage` includes
them. `num_turns` counts requests to the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentic_watch.dispatch.agents.agent_result import (
    UNNAMED,
    AgentResult,
    Usage,
    cause,
    count,
    dollars,
    models,
    name,
    total,
)
from agentic_watch.workspace.jsontext import object_in, objects_in

_VERSION = "claude_code_version"
_OF_RESULT = frozenset({"modelUsage", "total_cost_usd", "api_error_status"})
_WORDS = {
    "error_max_turns": "turn limit reached (error_max_turns)",
    "error_max_budget_usd": "budget reached (error_max_budget_usd)",
}
_COUNTED = {
    "input_tokens": ("inputTokens", "input_tokens"),
    "cache_read_tokens": ("cacheReadInputTokens", "cache_read_input_tokens"),
    "cache_write_tokens": ("cacheCreationInputTokens", "cache_creation_input_tokens"),
    "output_tokens": ("outputTokens", "output_tokens"),
}
"""Our keys, and their names in `modelUsage` and in `usage`."""


def knows(event: dict[str, Any]) -> bool:
    """Whether Claude Code printed this."""
    return _VERSION in event or (event.get("type") == "result" and not _OF_RESULT.isdisjoint(event))


def read(events: Sequence[dict[str, Any]]) -> AgentResult:
    """Its result: the last result event, with facts from the session's first event."""
    start, result = start_and_result(events, _VERSION)
    version, session = name(start.get(_VERSION)), name(start.get("session_id"))
    if result is None:
        usage = Usage(models=models([start.get("model")]), session_id=session, agent_version=version)
        return AgentResult(usage, ended=False)
    usage = _usage(result, name(result.get("session_id")) or session, version)
    return AgentResult(usage, error_of(result), denied=denied_by(result))


def start_and_result(events: Sequence[dict[str, Any]], version: str) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The event with the program's version (or {}), and the last result (or None)."""
    start: dict[str, Any] = next((event for event in events if version in event), {})
    return start, next((event for event in reversed(events) if event.get("type") == "result"), None)


def denied_by(result: dict[str, Any]) -> tuple[str, ...]:
    """The tools whose calls were denied, one for each call."""
    denials = objects_in(result.get("permission_denials"))
    return tuple(name(denial.get("tool_name")) or "a tool" for denial in denials)


def error_of(result: dict[str, Any]) -> str:
    """The error: with `is_error`, the result is the program's message and not the model's text."""
    subtype = name(result.get("subtype"))
    failed = subtype.startswith("error")
    if result.get("is_error") is not True and not failed:
        return ""
    listed = result.get("errors")
    texts = [text for text in listed if isinstance(text, str)] if isinstance(listed, list) else []
    told = object_in(result.get("error")).get("message") or "; ".join(texts)
    if not failed:
        told = result.get("result") or told
    return cause(told) or _WORDS.get(subtype, "") or (subtype if failed else "") or UNNAMED


def _usage(result: dict[str, Any], session: str, version: str) -> Usage:
    by_model = object_in(result.get("modelUsage"))
    main = object_in(result.get("usage"))
    counts: dict[str, Any] = {
        key: total(by_model.values(), of_model) if by_model else count(main.get(of_main))
        for key, (of_model, of_main) in _COUNTED.items()
    }
    return Usage(
        **counts,
        cost_usd=dollars(result.get("total_cost_usd"), counts["output_tokens"]),
        turns=count(result.get("num_turns")),
        models=models(by_model),
        session_id=session,
        agent_version=version,
    )
