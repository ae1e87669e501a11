"""The common form of an agent's result: usage, whether it ended, and the error. The model's texts are never kept.

Input tokens exclude cache reads and writes, output tokens include reasoning. A value that a program does not report is
unknown, never 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from agentic_watch.workspace.jsontext import object_in

ERROR_AT_MOST = 500
UNNAMED = "an error that was not named"
_NAME_AT_MOST = 200
_NAMES_AT_MOST = 20
_INT64 = 2**63
_VARIANT = re.compile(r"\[[^\]]*\]$")
_N = TypeVar("_N", int, float)


@dataclass(frozen=True, slots=True)
class Usage:
    """`report.usage`: tokens, dollars, turns and requests of a run, its models and its session; None is unknown."""

    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost_usd: float | None = None
    turns: int | None = None
    requests: int | None = None
    models: tuple[str, ...] = ()
    session_id: str = ""
    agent_version: str = ""

    def document(self) -> dict[str, Any]:
        """The known values, for the report."""
        known = {field.name: getattr(self, field.name) for field in fields(self)}
        known["models"] = list(self.models)
        return {key: value for key, value in known.items() if value not in (None, "", [])}


COUNTS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
_SUMS = (*COUNTS, "cost_usd", "turns", "requests")


@dataclass(frozen=True, slots=True)
class AgentResult:
    """The result that a program reported.

    `error` is its message about a failure; `ended` is False when the file lacks a final result; `denied` names the
    tools of denied calls, once per call. `whole_session`: the tokens include all earlier runs of the session.
    """

    usage: Usage = Usage()
    error: str = ""
    ended: bool = True
    denied: tuple[str, ...] = ()
    whole_session: bool = False


def together(results: Sequence[AgentResult]) -> AgentResult:
    """Combine several results: a number is known only if all have it; the first error counts."""
    if len(results) == 1:
        return results[0]
    usages = [result.usage for result in results]
    sums: dict[str, Any] = {key: plus(getattr(usage, key) for usage in usages) for key in _SUMS}
    models = tuple(dict.fromkeys(model for usage in usages for model in usage.models))
    last = usages[-1]
    return AgentResult(
        Usage(**sums, models=models, session_id=last.session_id, agent_version=last.agent_version),
        next((result.error for result in results if result.error), ""),
        all(result.ended for result in results),
        tuple(tool for result in results for tool in result.denied),
    )


def count(value: Any) -> int | None:
    """A number of tokens, turns or requests; None for anything else."""
    return value if type(value) is int and 0 <= value < _INT64 else None


def dollars(value: Any, tokens: int | None) -> float | None:
    """The cost of a run; None for 0 with tokens, which means that the program has no price for the model."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _INT64:
        return None
    return float(value) if math.isfinite(value) and (value or not tokens) else None


def name(value: Any) -> str:
    """A short text, such as an identifier, version or tool name."""
    return value.strip()[:_NAME_AT_MOST] if isinstance(value, str) else ""


def models(values: Iterable[Any]) -> tuple[str, ...]:
    """Names of models without duplicates and without a variant suffix (`[1m]`)."""
    plain = dict.fromkeys(_VARIANT.sub("", name(value)) for value in values)
    return tuple(model for model in plain if model)[:_NAMES_AT_MOST]


def cause(value: Any) -> str:
    """A program's error message, shortened."""
    return value.strip()[:ERROR_AT_MOST].strip() if isinstance(value, str) else ""


def plus(values: Iterable[_N | None]) -> _N | None:
    """The sum; None when a value is unknown or there is none."""
    numbers = list(values)
    known = [number for number in numbers if number is not None]
    return sum(known) if known and len(known) == len(numbers) else None


def total(objects: Iterable[Any], key: str) -> int | None:
    """The sum of a key over objects; None when one of them lacks it."""
    return plus(count(object_in(one).get(key)) for one in objects)


def minus(whole: int | None, *parts: int | None) -> int | None:
    """A number minus its parts; unknown parts count as 0."""
    return None if whole is None else max(0, whole - sum(part or 0 for part in parts))
