"""Claude Code: `claude -p --output-format json` or `stream-json` (2.1).

`subtype` is "success" where a request failed, too: `is_error` decides. `usage` leaves the subagents out, `modelUsage`
has them. `num_turns` counts requests to the model.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    objects_in,
    plus,
)

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
"""Our keys, and what they are in `modelUsage` and in `usage`."""


def knows(event: dict[str, Any]) -> bool:
    """Whether Claude Code printed this."""
    return "claude_code_version" in event or (event.get("type") == "result" and not _OF_RESULT.isdisjoint(event))


def read(events: Sequence[dict[str, Any]]) -> AgentResult:
    """Its result: the last event of that type, with what the session said of itself at its start."""
    start: dict[str, Any] = next((event for event in events if "claude_code_version" in event), {})
    result = next((event for event in reversed(events) if event.get("type") == "result"), None)
    version, session = name(start.get("claude_code_version")), name(start.get("session_id"))
    if result is None:
        usage = Usage(models=models([start.get("model")]), session_id=session, agent_version=version)
        return AgentResult(usage, ended=False)
    denials = objects_in(result.get("permission_denials"))
    return AgentResult(
        _usage(result, name(result.get("session_id")) or session, version),
        error_of(result),
        denied=tuple(name(denial.get("tool_name")) or "a tool" for denial in denials),
    )


def error_of(result: dict[str, Any]) -> str:
    """Why it failed: with `is_error` the result is what the program says of the failure, no word of the model."""
    subtype = name(result.get("subtype"))
    failed = subtype.startswith("error")
    if result.get("is_error") is not True and not failed:
        return ""
    listed = result.get("errors")
    texts = [text for text in listed if isinstance(text, str)] if isinstance(listed, list) else []
    told = object_in(result.get("error")).get("message") or "; ".join(texts)
    if not failed:
        told = result.get("result") or told
    return cause(told) or _WORDS.get(subtype, "") or (subtype if failed else "") or "an error that was not named"


def _usage(result: dict[str, Any], session: str, version: str) -> Usage:
    by_model = object_in(result.get("modelUsage"))
    each = [object_in(used) for used in by_model.values()]
    main = object_in(result.get("usage"))
    counts: dict[str, Any] = {
        key: plus(count(used.get(of_model)) for used in each) if each else count(main.get(of_main))
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
