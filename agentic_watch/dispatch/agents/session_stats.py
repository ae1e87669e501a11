"""The statistics of a session that Gemini CLI and its fork Qwen Code print: by model, and by tool."""

from __future__ import annotations

from typing import Any

from agentic_watch.dispatch.agents.agent_result import count, models, name, object_in, plus

_DENIALS_AT_MOST = 100


class Statistics:
    """`stats` of a result in JSON."""

    def __init__(self, stats: dict[str, Any]) -> None:
        by_model = object_in(stats.get("models"))
        self._models = [object_in(model) for model in by_model.values()]
        apis = [object_in(model.get("api")) for model in self._models]
        self.requests: int | None = plus(count(api.get("totalRequests")) for api in apis)
        self.errors: int | None = plus(count(api.get("totalErrors")) for api in apis)
        self.models = models(by_model)
        self._tools = object_in(object_in(stats.get("tools")).get("byName"))

    def tokens(self, key: str) -> int | None:
        """The tokens of this kind, of all models together."""
        total: int | None = plus(count(object_in(model.get("tokens")).get(key)) for model in self._models)
        return total

    @property
    def all_failed(self) -> bool:
        """Whether there was no request that did not fail, and no output."""
        return bool(self.requests) and self.errors == self.requests and not self.tokens("candidates")

    @property
    def denied(self) -> tuple[str, ...]:
        """The tools whose calls were denied, one for each call."""
        found: list[str] = []
        for tool, used in self._tools.items():
            times = count(object_in(object_in(used).get("decisions")).get("reject")) or 0
            found += [name(tool)] * min(times, _DENIALS_AT_MOST)
        return tuple(found)
