"""Gemini CLI: `gemini -o json` or `stream-json` (0.61).

Prompt tokens include cache reads, candidate tokens exclude thoughts. Errors of `-o json` go to stderr, those of `-o
stream-json` into the result.
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
    minus,
    models,
    name,
    plus,
    total,
)
from agentic_watch.workspace.jsontext import object_in

_REFUSED = "policy_violation"
_OF_ERROR = frozenset({"session_id", "error", "warnings"})


def knows(event: dict[str, Any]) -> bool:
    """Whether Gemini CLI printed this."""
    kind, stats = event.get("type"), event.get("stats")
    if kind is None:
        if isinstance(object_in(stats).get("models"), dict):
            return True
        return event.keys() <= _OF_ERROR and {"type", "message"} <= object_in(event.get("error")).keys()
    return (kind == "init" and "session_id" in event) or (kind == "result" and "status" in event)


def read(events: Sequence[dict[str, Any]]) -> AgentResult:
    """Its result: the last event with an outcome."""
    start: dict[str, Any] = next((event for event in events if event.get("type") == "init"), {})
    ends = [event for event in events if event.get("type") in (None, "result")]
    if not ends:
        usage = Usage(models=models([start.get("model")]), session_id=name(start.get("session_id")))
        return AgentResult(usage, ended=False)
    end = ends[-1]
    error = object_in(end.get("error"))
    failed = bool(error) or end.get("status") == "error"
    told = cause(error.get("message")) or name(error.get("type")) or UNNAMED if failed else ""
    session = name(end.get("session_id")) or name(start.get("session_id"))
    if end.get("type") == "result":
        return AgentResult(_of_stream(object_in(end.get("stats")), start, session), told, denied=_denied(events))
    stats = Statistics(object_in(end.get("stats")))
    if stats.all_failed and not told:
        told = "all requests failed"
    return AgentResult(_of_document(stats, session), told, denied=stats.denied)


def _denied(events: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The tools whose calls a policy denied."""
    calls = [event for event in events if event.get("type") == "tool_use"]
    tools = {name(call.get("tool_id")): name(call.get("tool_name")) for call in calls}
    refused = [event for event in events if object_in(event.get("error")).get("type") == _REFUSED]
    return tuple(tools.get(name(event.get("tool_id"))) or "a tool" for event in refused)


def _of_document(stats: Statistics, session: str) -> Usage:
    cached, thoughts = stats.tokens("cached"), stats.tokens("thoughts")
    return Usage(
        input_tokens=minus(stats.tokens("prompt"), cached),
        cache_read_tokens=cached,
        output_tokens=plus([stats.tokens("candidates"), thoughts]),
        reasoning_tokens=thoughts,
        requests=stats.requests,
        models=stats.models,
        session_id=session,
    )


def _of_stream(stats: dict[str, Any], start: dict[str, Any], session: str) -> Usage:
    prompt, cached = count(stats.get("input_tokens")), count(stats.get("cached"))
    candidates, whole = count(stats.get("output_tokens")), count(stats.get("total_tokens"))
    # Thoughts are included only in the total here.
    output = None if prompt is None else minus(whole, prompt)
    return Usage(
        input_tokens=minus(prompt, cached),
        cache_read_tokens=cached,
        output_tokens=candidates if output is None else output,
        reasoning_tokens=None if candidates is None else minus(output, candidates),
        models=models(object_in(stats.get("models"))) or models([start.get("model")]),
        session_id=session,
    )


_DENIALS_AT_MOST = 100


class Statistics:
    """`stats` of a result in JSON."""

    def __init__(self, stats: dict[str, Any]) -> None:
        by_model = object_in(stats.get("models"))
        self._models = [object_in(model) for model in by_model.values()]
        apis = [model.get("api") for model in self._models]
        self.requests, self.errors = total(apis, "totalRequests"), total(apis, "totalErrors")
        self.models = models(by_model)
        self._tools = object_in(object_in(stats.get("tools")).get("byName"))

    def tokens(self, key: str) -> int | None:
        """The tokens of this kind, summed over models."""
        return total((model.get("tokens") for model in self._models), key)

    @property
    def all_failed(self) -> bool:
        """Whether all requests failed, without any output."""
        return bool(self.requests) and self.errors == self.requests and not self.tokens("candidates")

    @property
    def denied(self) -> tuple[str, ...]:
        """The tools whose calls were denied, one for each call."""
        found: list[str] = []
        for tool, used in self._tools.items():
            times = count(object_in(object_in(used).get("decisions")).get("reject")) or 0
            found += [name(tool)] * min(times, _DENIALS_AT_MOST)
        return tuple(found)
