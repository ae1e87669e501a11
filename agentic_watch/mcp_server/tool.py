"""Tools independent of the SDK: arguments with JSON Schema and validation, answers, and limits on the size of answers,
which a model reads.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from agentic_watch.config.value_checks import nearest

LONGEST_TEXT = 1_000
LONGEST_LIST = 50
MOST_ROWS = 200
"""Maximum number of rows that a client may request."""


def shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def bounded(value: Any, cut: dict[str, str], name: str = "") -> Any:
    """The same document with every text and list within limits.

    For each shortened list a sentence is added to `cut`, by its name.
    """
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, dict):
        return {key: bounded(item, cut, key) for key, item in value.items()}
    if not isinstance(value, (list, tuple)):
        return value
    if len(value) > LONGEST_LIST:
        cut.setdefault(name, f"{name}: the first {LONGEST_LIST} of {len(value):,}")
    return [bounded(item, cut, name) for item in value[:LONGEST_LIST]]


Kind = Literal["text", "texts", "number", "flag"]
Given = dict[str, Any]
Progress = Callable[[float, float, str], Awaitable[None]]
"""Reports progress to the client: done, total, last message."""


class ToolRefusal(Exception):
    """A call without an answer because of a foreseeable error: one line for the client."""


@dataclass(frozen=True, slots=True)
class Said:
    """The answer of a tool: a JSON document, and `remarks`."""

    document: dict[str, Any]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument; `texts` is one text or several. A number lies between `least` and `most` (None: unbounded)."""

    name: str
    about: str
    kind: Kind = "text"
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    default: int | None = None
    required: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool. `ask` gets the client's arguments without empty ones, in one thread at a time; None for the waiting tool.

    It raises ToolRefusal, ConfigError and HistoryRefused. `answers` is the JSON Schema of the document, if clients rely
    on one.
    """

    name: str
    about: str
    arguments: tuple[Argument, ...]
    ask: Callable[[Given], Said] | None
    answers: dict[str, Any] | None = None
    reads: bool = True


_TYPES: dict[Kind, dict[str, Any]] = {
    "text": {"type": "string"},
    "texts": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
    "number": {"type": "integer"},
    "flag": {"type": "boolean"},
}
_FLAGS = {"true": True, "false": False}


def schema(arguments: Sequence[Argument]) -> dict[str, Any]:
    """The JSON Schema of a tool's arguments, without additional properties."""
    document: dict[str, Any] = {"type": "object", "properties": {one.name: _property(one) for one in arguments}}
    if required := [one.name for one in arguments if one.required]:
        document["required"] = required
    return {**document, "additionalProperties": False}


def _property(one: Argument) -> dict[str, Any]:
    bounds = {"enum": list(one.choices) or None, "minimum": one.least, "maximum": one.most, "default": one.default}
    told = {name: value for name, value in bounds.items() if value is not None}
    return {**_TYPES[one.kind], **told, "description": one.about}


def checked(tool: Tool, given: dict[str, Any]) -> dict[str, Any]:
    """Validate and convert the given arguments; empty ones count as not given. Raises ToolRefusal."""
    known = {one.name: one for one in tool.arguments}
    for name in given:
        if name not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise ToolRefusal(f"{tool.name} has no argument {shown(name)}{near(name, known)}; {takes}")
    values = {}
    for name, one in known.items():
        value = given.get(name)
        if value is None or (value in ("", []) and not one.required):
            if one.required:
                raise ToolRefusal(f"{name}: is required")
            continue
        values[name] = _value(one, value)
    return values


def near(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?` with the nearest known word, or ""."""
    found = nearest(word, known)
    return f"; did you mean {found}?" if found else ""


def _value(one: Argument, value: Any) -> Any:
    """Convert a value to its type. Numbers, flags and lists given as texts are accepted, because models send them."""
    if one.kind == "number":
        return _number(one, value)
    if one.kind == "flag":
        found = _FLAGS.get(value.lower()) if isinstance(value, str) else value
        if not isinstance(found, bool):
            raise ToolRefusal(f"{one.name}: {shown(value)} is not true or false")
        return found
    if one.kind == "texts":
        return _texts(one, value)
    text = _text(one, value, "is not a text")
    if one.choices and text not in one.choices:
        raise ToolRefusal(f"{one.name}: {shown(text)} is not one of {', '.join(one.choices)}{near(text, one.choices)}")
    return text


def _number(one: Argument, value: Any) -> int:
    if isinstance(value, str) and value.strip().removeprefix("-").isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ToolRefusal(f"{one.name}: {shown(value)} is not a whole number")
    if one.least is not None and value < one.least:
        raise ToolRefusal(f"{one.name}: {shown(value)} is less than {one.least}")
    if one.most is not None and value > one.most:
        raise ToolRefusal(f"{one.name}: {shown(value)} is more than {one.most}")
    return value


def _texts(one: Argument, value: Any) -> list[str]:
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = [value]
    values = value if isinstance(value, list) else [value]
    return [text for text in (_text(one, item, "is not a text or a list of texts") for item in values) if text]


def _text(one: Argument, value: Any, problem: str) -> str:
    """The value as a text; a number is as good as its digits."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str):
        raise ToolRefusal(f"{one.name}: {shown(value)} {problem}")
    if "\0" in text:  # impossible on the command line, and SQLite takes it for the end of a search
        raise ToolRefusal(f"{one.name}: {shown(text)} holds control characters")
    return text


def shown(value: Any) -> str:
    """A client's value for a message: printable and short."""
    text = ascii(value)
    return text if len(text) <= 100 else f"{text[:99]}…"
