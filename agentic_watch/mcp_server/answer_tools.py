"""What the reading tools answer: the same as the command line's `--json`, within bounds."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

from mcp.server.mcpserver.exceptions import ToolError

from agentic_watch.answers import documents, finding_changes, listing, one_dispatch, source, spans
from agentic_watch.answers import findings as recurring_findings
from agentic_watch.answers.answer import Answer
from agentic_watch.answers.failures import failures as failures_of
from agentic_watch.answers.filters import Wanted
from agentic_watch.answers.finding_changes import Kind
from agentic_watch.answers.one_dispatch import NoSuchDispatch
from agentic_watch.answers.outcomes import from_config
from agentic_watch.answers.spans import Clock
from agentic_watch.answers.stats import stats as stats_of
from agentic_watch.answers.stats_cells import Question
from agentic_watch.config import Config
from agentic_watch.history import queries
from agentic_watch.history.columns import HISTORY_COLUMNS
from agentic_watch.mcp_server.workspace_tools import bounded, refuse_name

Document = dict[str, Any]
Filters = dict[str, str]

_BRIEF = ("id", *(name for name in HISTORY_COLUMNS if name != "report"))
_TEXT_READ = 1_100
_LONG = ("task", "question")


def wanted(filters: Filters) -> Wanted:
    """The filters of a tool call; several values are parted by commas. Raises ToolError."""
    clock = Clock(time.time(), utc=True)
    values: dict[str, Any] = {}
    for name, text in filters.items():
        if not text:
            continue
        if name in ("since", "until"):
            values[name] = _point(name, text, clock)
        elif name in ("search", "workspace"):
            values[name] = text if name == "search" else (text,)
        else:
            values[name] = tuple(part.strip() for part in text.split(",") if part.strip())
    if "search" in values and not queries.words(values["search"]):
        raise ToolError("search: has no letter and no digit to search for")
    return Wanted(**values)


def _point(name: str, text: str, clock: Clock) -> str:
    try:
        return spans.point(text, clock, end=name == "until")
    except (ValueError, OverflowError) as error:
        raise ToolError(f"{name}: {text!r} is not {spans.EXPECTED}") from error


def history(config: Config, filters: Filters, limit: int) -> Document:
    """What was committed, newest first, without reports. Raises ToolError, HistoryError and HistoryRefused."""
    asked = wanted(filters)
    columns = [f"substr(d.{name}, 1, {_TEXT_READ}) AS {name}" if name in _LONG else f"d.{name}" for name in _BRIEF]
    with source.history(config.history) as opened:
        rows = [
            documents.absent_as_null(listing.document(row))
            for row in listing.dispatches(opened, asked, columns, limit + 1)
        ]
        total, first = listing.total(opened)
    for row in rows:
        del row["schema"]
    found = [bounded(row) for row in rows[:limit]]
    head = {"schema": documents.SCHEMA, "history_since": first or None, "history_commits_count": total}
    return {**head, "rows": found, "more": len(rows) > limit}


def show(config: Config, given: str) -> Document:
    """One dispatch, without its report. Raises ToolError, HistoryError and HistoryRefused."""
    refuse_name(given)
    try:
        # As in `locate`: nothing is relative to where the server was started.
        found = one_dispatch.document(one_dispatch.one_dispatch(config, given, os.devnull))
    except NoSuchDispatch as error:
        raise ToolError(str(error)) from error
    if found["dispatch"] is not None:
        found["dispatch"].pop("report", None)
    # The newest commits are those that matter.
    older = max(0, len(found["commits"]) - 20)
    found["commits"] = found["commits"][older:]
    answer: Document = bounded(found)
    return {**answer, "older_commits_count": older}


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
