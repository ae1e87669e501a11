"""Recognises the program that wrote a result, by a table: add a line for a new program."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from agentic_watch.dispatch.agents import claude, codex, gemini, mini_swe_agent, opencode, qwen
from agentic_watch.dispatch.agents.agent_result import AgentResult, Usage, cause, count, dollars, models, name
from agentic_watch.dispatch.input_file import MAX_VALUES, Unreadable, utf_8
from agentic_watch.workspace.jsontext import MAX_DEPTH, holds_more_values, object_in

_BEGINNING = re.compile(r"^[ \t]*(?=[{\[])", re.MULTILINE)
_DECODER = json.JSONDecoder()
_BROKEN_AT_MOST = 100
"""Limit of invalid multi-line documents: for each error the decoder counts all preceding lines."""


def objects(data: bytes) -> Iterator[dict[str, Any]]:
    """Every JSON object that begins a line, and those in a list that begins one. Raises Unreadable over the limits."""
    data = utf_8(data)
    if holds_more_values(data, MAX_VALUES):
        raise Unreadable(f"holds more than {MAX_VALUES} values")
    for value in _values(data.decode("utf-8", "replace")):
        yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict))


def _values(text: str) -> Iterator[Any]:
    place = broken = 0
    while (found := _BEGINNING.search(text, place)) is not None:
        start = found.end()
        place = text.find("\n", start) + 1 or len(text)
        try:
            yield _DECODER.raw_decode(text[start:place])[0]
        except json.JSONDecodeError as error:
            if broken >= _BROKEN_AT_MOST or error.pos < len(error.doc.rstrip()):
                continue  # text that begins like JSON
            value, end = _decoded(text, start)
            broken += value is None
            place = max(place, end)
            yield value
        except RecursionError as error:
            raise Unreadable(f"is nested deeper than {MAX_DEPTH}") from error
        except ValueError:
            continue  # a number of too many digits (sys.set_int_max_str_digits)


def _decoded(text: str, start: int) -> tuple[Any, int]:
    """A multi-line document and its end; None and the line of the error when it is invalid."""
    try:
        return _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        return None, text.rfind("\n", 0, error.pos) + 1
    except RecursionError as error:
        raise Unreadable(f"is nested deeper than {MAX_DEPTH}") from error
    except ValueError:
        return None, start


_OWN_KEYS = frozenset(field.name for field in fields(Usage))
_OWN_COUNTS = _OWN_KEYS - {"cost_usd", "models", "session_id", "agent_version"}


def _is_own(event: dict[str, Any]) -> bool:
    """Whether this is our own format."""
    if "type" in event:
        return False
    return isinstance(event.get("usage"), dict) or (bool(event) and event.keys() <= _OWN_KEYS | {"error"})


def _read_own(events: Sequence[dict[str, Any]]) -> AgentResult:
    """The result in the last such object."""
    event = next(event for event in reversed(events) if _is_own(event))
    used = object_in(event.get("usage", event))
    counts: dict[str, Any] = {key: count(used.get(key)) for key in _OWN_COUNTS}
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


class _Agent(NamedTuple):
    """A program: functions that recognise its objects, and read the result from all of them."""

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
_OWN = _Agent("", _is_own, _read_own)


def read(data: bytes) -> AgentResult:
    """Read the output of an agent's program, recognised by its content. Raises Unreadable when it is unknown.

    Empty output is valid: the program was stopped before it printed its result.
    """
    if not data.strip():
        return AgentResult(ended=False)
    events = list(objects(data))
    for agent in (*_AGENTS, _OWN):
        if any(map(agent.knows, events)):
            return agent.read(events)
    raise Unreadable("holds no result of a known agent's program")


def writer(document: dict[str, Any]) -> str:
    """The program that wrote a JSON document; "" when unknown."""
    return next((agent.name for agent in _AGENTS if agent.knows(document)), "")
