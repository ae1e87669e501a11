"""What the judging tools answer: how dispatches end, why they fail, which findings recur; within bounds."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_watch.answers import finding_changes, source
from agentic_watch.answers import findings as recurring_findings
from agentic_watch.answers.answer import Answer
from agentic_watch.answers.failures import failures as failures_of
from agentic_watch.answers.finding_changes import Kind
from agentic_watch.answers.outcomes import from_config
from agentic_watch.answers.stats import stats as stats_of
from agentic_watch.answers.stats_cells import Question
from agentic_watch.config import Config
from agentic_watch.mcp_server.bounds import bounded
from agentic_watch.mcp_server.history_tools import Document, wanted

Filters = dict[str, str]


def stats(config: Config, filters: Filters, by: str, limit: int) -> Document:
    """The groups with their numbers. Raises ToolError, HistoryError and HistoryRefused."""
    question = Question(wanted(filters), by, from_config(config.answers))
    with source.history(config.history) as opened:
        return _bounded(stats_of(opened, question).answer(opened, question), limit)


def failures(config: Config, filters: Filters, limit: int) -> Document:
    """The classes of failures, with examples. Raises ToolError, HistoryError and HistoryRefused."""
    asked = wanted(filters)
    with source.history(config.history) as opened:
        return _bounded(failures_of(opened, asked, from_config(config.answers)).answer(opened, asked), limit)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of findings: grouped by what; or of which kind, over how many runs."""

    by: str = "rule"
    kind: Kind | None = None
    runs: int = 3


def findings(config: Config, filters: Filters, wish: Wish, limit: int) -> Document:
    """What recurs, grouped; or what changed over runs. Raises ToolError, HistoryError and HistoryRefused."""
    asked = wanted(filters)
    with source.history(config.history) as opened:
        if wish.kind is not None:
            return _bounded(finding_changes.answer(opened, asked, wish.kind, wish.runs), limit)
        return _bounded(recurring_findings.answer(opened, asked, wish.by), limit)


def _bounded(answer: Answer, limit: int) -> Document:
    """The document with its first rows, each within bounds, and how many there are."""
    return answer.document([bounded(row, 10) for row in answer.rows[:limit]])
