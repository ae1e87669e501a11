"""mini-swe-agent: the trajectory that `mini -o FILE` writes (2.4).

Each message has the usage of its request with OpenAI's keys: prompt tokens include the cache, completion tokens the
reasoning. A cost of 0 means that LiteLLM has no price.
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
    minus,
    models,
    name,
    total,
)
from agentic_watch.workspace.jsontext import object_in, objects_in

_SUBMITTED = "Submitted"
_WORDS = {
    "LimitsExceeded": "step or cost limit reached (LimitsExceeded)",
    "TimeExceeded": "time limit reached (TimeExceeded)",
    "RepeatedFormatError": "the model's answers had the wrong format (RepeatedFormatError)",
}


def knows(event: dict[str, Any]) -> bool:
    """Whether mini-swe-agent wrote this."""
    return name(event.get("trajectory_format")).startswith("mini-swe-agent")


def read(events: Sequence[dict[str, Any]]) -> AgentResult:
    """Its result: the trajectory's `info`, and the usage of all messages."""
    trajectory = next(event for event in reversed(events) if knows(event))
    info, messages = object_in(trajectory.get("info")), objects_in(trajectory.get("messages"))
    status = name(info.get("exit_status"))
    last = object_in(messages[-1].get("extra")) if messages else {}
    error = ""
    if status not in ("", _SUBMITTED):
        error = cause(last.get("exception_str")) or _WORDS.get(status, status)
    return AgentResult(_usage(info, messages), error, ended=bool(status))


def _usage(info: dict[str, Any], messages: list[dict[str, Any]]) -> Usage:
    responses = [object_in(object_in(message.get("extra")).get("response")) for message in messages]
    used = [object_in(response["usage"]) for response in responses if "usage" in response]
    cached = total((one.get("prompt_tokens_details") for one in used), "cached_tokens")
    output = total(used, "completion_tokens")
    stats = object_in(info.get("model_stats"))
    return Usage(
        input_tokens=minus(total(used, "prompt_tokens"), cached),
        cache_read_tokens=cached,
        output_tokens=output,
        reasoning_tokens=total((one.get("completion_tokens_details") for one in used), "reasoning_tokens"),
        cost_usd=dollars(stats.get("instance_cost"), output),
        requests=count(stats.get("api_calls")),
        models=models([object_in(object_in(info.get("config")).get("model")).get("model_name")]),
        agent_version=name(info.get("mini_version")),
    )
