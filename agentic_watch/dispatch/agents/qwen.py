"""Qwen Code: `qwen -o json` or `stream-json` (0.15): Claude Code's events, with Gemini's statistics.

If all requests failed, it still exits with 0 and `is_error` false; the result is then the API's message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agentic_watch.dispatch.agents import claude
from agentic_watch.dispatch.agents.agent_result import AgentResult, Usage, cause, count, minus, models, name
from agentic_watch.dispatch.agents.gemini import Statistics
from agentic_watch.workspace.jsontext import object_in

_VERSION = "qwen_code_version"
_API_ERROR = "[API Error"


def knows(event: dict[str, Any]) -> bool:
    """Whether Qwen Code printed this."""
    return _VERSION in event or (
        event.get("type") == "result" and "is_error" in event and isinstance(event.get("stats"), dict)
    )


def read(events: Sequence[dict[str, Any]]) -> AgentResult:
    """Its result: the last event of that type."""
    start, result = claude.start_and_result(events, _VERSION)
    version = name(start.get(_VERSION))
    if result is None:
        return AgentResult(Usage(session_id=name(start.get("session_id")), agent_version=version), ended=False)
    stats = Statistics(object_in(result.get("stats")))
    main = object_in(result.get("usage"))
    read_from_cache = count(main.get("cache_read_input_tokens"))
    usage = Usage(
        # Candidate tokens include thoughts here.
        input_tokens=minus(count(main.get("input_tokens")), read_from_cache),
        cache_read_tokens=read_from_cache,
        output_tokens=count(main.get("output_tokens")),
        reasoning_tokens=stats.tokens("thoughts"),
        turns=count(result.get("num_turns")),
        requests=stats.requests,
        models=stats.models or models([start.get("model")]),
        session_id=name(result.get("session_id")) or name(start.get("session_id")),
        agent_version=version,
    )
    error = claude.error_of(result) or _hidden_error(result, stats)
    return AgentResult(usage, error, denied=claude.denied_by(result) or stats.denied)


def _hidden_error(result: dict[str, Any], stats: Statistics) -> str:
    """An error without `is_error`: if the model produced no output, the result must be the API's message."""
    text = cause(result.get("result"))
    if stats.all_failed or (stats.errors and text.startswith(_API_ERROR)):
        return text or "all requests failed"
    return ""
