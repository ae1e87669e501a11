"""Which program wrote a result: the table to read, and to add a line to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from agentic_watch.dispatch.agents import claude, codex, gemini, json_texts, mini_swe_agent, opencode, own_usage, qwen
from agentic_watch.dispatch.agents.agent_result import AgentResult
from agentic_watch.dispatch.left_file import Unreadable


class _Agent(NamedTuple):
    """A program: whether it printed an object, and what all of its objects say."""

    name: str
    knows: Callable[[dict[str, Any]], bool]
    read: Callable[[Sequence[dict[str, Any]]], AgentResult]


_AGENTS = (
    _Agent("Qwen Code", qwen.knows, qwen.read),
    _Agent("Claude Code", claude.knows, claude.read),
    _Agent("Codex", codex.knows, codex.read),
    _Agent("opencode", opencode.knows, opencode.read),
    _Agent("Gemini CLI", gemini.knows, gemini.read),
    _Agent("mini-swe-agent", mini_swe_agent.knows, mini_swe_agent.read),
)
_OWN = _Agent("", own_usage.knows, own_usage.read)


def read(data: bytes) -> AgentResult:
    """What an agent's program printed, told by its content. Raises Unreadable when nobody knows it.

    Nothing at all is what a program leaves that was stopped before it could print its result.
    """
    if not data.strip():
        return AgentResult(ended=False)
    events = list(json_texts.objects(data))
    for agent in (*_AGENTS, _OWN):
        if any(map(agent.knows, events)):
            return agent.read(events)
    raise Unreadable("holds no result of an agent's program that is known")


def writer(document: dict[str, Any]) -> str:
    """Whose program's result a JSON document is; "" when it is none."""
    return next((agent.name for agent in _AGENTS if agent.knows(document)), "")
