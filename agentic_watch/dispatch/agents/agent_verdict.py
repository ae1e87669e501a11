"""What the results of agents' programs say of a run: what it used, and whether it failed or waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from agentic_watch.dispatch import left_file
from agentic_watch.dispatch.agents import known_agents
from agentic_watch.dispatch.agents.agent_result import ERROR_AT_MOST, AgentResult, together
from agentic_watch.dispatch.agents.earlier_runs import without_earlier
from agentic_watch.dispatch.runs import Run
from agentic_watch.workspace import instant

_NO_RESULT = "ended without a result"


def read_results(run: Run, paths: Sequence[str], problems: list[str]) -> AgentResult | None:
    """What the files say together, None when none of them says anything; each that does not becomes a problem."""
    since = instant.parse(run.started_at).ns
    results = []
    for path in paths:
        try:
            result = known_agents.read(left_file.read(left_file.locate(path, run.path), since))
        except left_file.Unreadable as error:
            problems.append(f"{path}: {error}; recorded without it")
            continue
        if result.whole_session:
            result = replace(result, usage=without_earlier(result.usage, run))
        results.append(result)
    return together(results) if results else None


def judged(
    result: AgentResult, status: str, cause: str, *, changed: bool = False, stopped: bool = False
) -> tuple[str, str]:
    """(status, question) of a run that ended as `status` for `cause`.

    `changed` says that it is known to have changed something, `stopped` that a signal ended it. An error makes it
    failed whatever the status; without one the cause of a run that failed stays, and the word of one that is blocked.
    """
    if result.error:
        return "failed", result.error
    if not result.ended and not stopped and status != "blocked":
        return "failed", f"{_NO_RESULT} ({cause})" if cause else _NO_RESULT
    if status == "completed" and result.denied and not changed:
        return "blocked", _denied(result.denied)
    return status, cause


def _denied(tools: Sequence[str]) -> str:
    counted = ", ".join(f"{tool} {times}×" if times > 1 else tool for tool, times in Counter(tools).items())
    return f"tool calls were denied and nothing was changed: {counted}"[:ERROR_AT_MOST]
