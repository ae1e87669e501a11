"""The digest of a span, for a stand-up: rates, failures with causes, waiting dispatches, new findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentic_watch.answers import answer_shape
from agentic_watch.answers.past import dispatch_list, time_spans
from agentic_watch.answers.past.dispatch_list import dispatches
from agentic_watch.answers.past.failures import FailureClass, failures
from agentic_watch.answers.past.filters import Filter
from agentic_watch.answers.past.findings import Change, changes
from agentic_watch.answers.past.outcomes import Outcomes, Rate
from agentic_watch.answers.past.sql_dialects import Source
from agentic_watch.answers.past.stats import Stats, document, keyed, stats
from agentic_watch.answers.past.stats_query import Question

MOST = 5
"""Lines per list, so that the whole fits on half a page."""

_READ = 300
_WAITING = ("d.updated_utc", "d.workspace", "d.agent", f"substr(d.question, 1, {_READ}) AS question")


@dataclass(frozen=True, slots=True)
class Digest:
    """The facts of a span; `before` is the rate of the preceding span of equal length. Lists have at most `MOST` items,
    counts include all."""

    stats: Stats
    before: Rate
    classes: Sequence[FailureClass]
    waiting: Sequence[dict[str, Any]]
    new_findings: Sequence[Change]
    new_count: int

    def document(self, source: Source, wanted: Filter) -> dict[str, Any]:
        """The JSON of the digest."""
        return {
            **dispatch_list.head(source, wanted, self.stats.total.dispatches),
            "total": document(self.stats.total),
            "before": self.before.document(),
            "agents": [keyed(group) for group in self.stats.groups],
            "classes": [one.document() for one in self.classes],
            "waiting": [answer_shape.absent_as_null(row) for row in self.waiting],
            "new_findings_count": self.new_count,
            "new_findings": [one.document() for one in self.new_findings],
        }


def digest(source: Source, wanted: Filter, outcomes: Outcomes, now: float) -> Digest:
    """The digest of `wanted`, which must have `since`; `now` (in seconds) ends an open span."""
    found = stats(source, Question(wanted, "agent", outcomes))
    began = time_spans.seconds_of(wanted.since)
    ended = time_spans.seconds_of(wanted.until) if wanted.until else now
    earlier = wanted._replace(since=_earlier(began, ended), until=wanted.since)
    statuses = outcomes.statuses("waiting")
    waits = dispatches(source, wanted._replace(status=statuses), _WAITING, MOST) if statuses else iter(())
    new = changes(source, wanted, "new").found
    return Digest(
        stats=found,
        before=stats(source, Question(earlier, "agent", outcomes)).total.rate,
        classes=failures(source, wanted, outcomes).classes[:MOST],
        waiting=list(waits),
        new_findings=new[:MOST],
        new_count=len(new),
    )


def _earlier(began: float, ended: float) -> str:
    """The start of the preceding span of equal length; "" when it is out of range."""
    try:
        return time_spans.at(began - max(0.0, ended - began))
    except (ValueError, OverflowError):
        return ""
