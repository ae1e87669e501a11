"""What the judging tools answer: how dispatches end, why they fail, which findings recur; within bounds."""

from __future__ import annotations

from dataclasses import dataclass

from agentic_watch.answers import documents, source
from agentic_watch.answers.failures import failures as failures_of
from agentic_watch.answers.finding_changes import Kind, changes
from agentic_watch.answers.findings import recurring
from agentic_watch.answers.outcomes import Outcomes, from_config
from agentic_watch.answers.stats import document
from agentic_watch.answers.stats import stats as stats_of
from agentic_watch.answers.stats_cells import Question
from agentic_watch.config import Config
from agentic_watch.mcp_server.bounds import bounded
from agentic_watch.mcp_server.history_tools import Document, wanted

Filters = dict[str, str]


def stats(config: Config, filters: Filters, by: str, limit: int) -> Document:
    """The groups with their numbers. Raises ToolError, HistoryError and HistoryRefused."""
    question = Question(wanted(filters), by, _outcomes(config))
    with source.history(config.history) as opened:
        found = stats_of(opened, question)
        head = documents.head(opened, question.wanted, found.total.dispatches)
    groups = [{"key": group.key or None, **document(group)} for group in found.groups]
    return {**head, "by": by, "total": document(found.total), **_some(groups, limit)}


def failures(config: Config, filters: Filters, limit: int) -> Document:
    """The classes of failures, with examples. Raises ToolError, HistoryError and HistoryRefused."""
    asked = wanted(filters)
    with source.history(config.history) as opened:
        found = failures_of(opened, asked, _outcomes(config))
        head = documents.head(opened, asked, found.failed + found.waiting)
    counts = {"failed_count": found.failed, "waiting_count": found.waiting}
    return {**head, **counts, **_some([one.document() for one in found.classes], limit)}


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
            told = changes(opened, asked, wish.kind, wish.runs)
            rows = [one.document() for one in told.found]
            head: Document = {"kind": wish.kind, "runs": wish.runs}
            head |= {"repositories_count": told.repositories, "too_few_runs_count": told.untold}
            looked_at = len(rows)
        else:
            groups = recurring(opened, asked, wish.by)
            rows = [one.document(wish.by) for one in groups]
            head = {"by": wish.by}
            looked_at = sum(one.findings for one in groups)
        said = documents.head(opened, asked, looked_at)
    return {**said, **head, **_some(rows, limit)}


def _outcomes(config: Config) -> Outcomes:
    return from_config(config.answers)


def _some(rows: list[Document], limit: int) -> Document:
    """The first ones, and how many there are."""
    return {"rows_count": len(rows), "rows": [bounded(row, 10) for row in rows[:limit]]}
