"""Counts why dispatches fail or wait, by class with examples; likely faults of the host are separate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from agentic_watch.answers.answer_shape import Answer, absent_as_null
from agentic_watch.answers.past import dispatch_list, kept_logs
from agentic_watch.answers.past.costs import COST, UNKNOWN, Total, sum_document
from agentic_watch.answers.past.failure_classes import alike, failure_class, host_cause
from agentic_watch.answers.past.filters import Filter, where
from agentic_watch.answers.past.outcomes import Outcomes
from agentic_watch.answers.past.sql_dialects import Source

EXAMPLES = 3
_READ = 1000
_UNKNOWN = "no reason given"

_COLUMNS = (
    f"substr(d.question, 1, {_READ}), d.passed, d.build_passed, d.test_passed, d.lint_passed, "
    f"d.updated_utc, d.org, d.repo, d.agent, d.workspace, d.{COST}"
)
_IDENTITY = 11
"""Number of columns before those that identify the commit."""
_LOGS_READ = 1_000
"""Failures with only an exit status whose logs are read, newest first; takes a second at most."""


Example = dict[str, Any]
"""The JSON of one dispatch of a class: updated_utc, workspace, agent, and `text`: the original question, with the error
in its log if the question is only an exit status."""


@dataclass(slots=True)
class FailureClass:
    """Failures that differ only in paths, numbers, hashes and quotes; newest examples first.

    `fault` is the likely side (agent or host), `cause` the host's fault, "" for an agent's. `cost` is in millionths of
    a dollar.
    """

    name: str
    fault: Literal["host", "agent"]
    cause: str
    count: int = 0
    waiting: int = 0
    repositories: set[tuple[str, str]] = field(default_factory=set)
    agents: set[str] = field(default_factory=set)
    first_utc: str = ""
    last_utc: str = ""
    cost: Total = UNKNOWN
    examples: list[Example] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The JSON of the class."""
        return {
            "class": self.name,
            "fault": self.fault,
            "cause": self.cause or None,
            "dispatches_count": self.count,
            "failed_count": self.count - self.waiting,
            "waiting_count": self.waiting,
            "repositories_count": len(self.repositories),
            "agents": sorted(self.agents - {""}),
            "first_utc": self.first_utc,
            "last_utc": self.last_utc,
            COST: sum_document(self.cost),
            "examples": self.examples,
        }


@dataclass(frozen=True, slots=True)
class Failures:
    """All classes, most frequent first, and the number of dispatches that failed or wait."""

    classes: list[FailureClass]
    failed: int
    waiting: int

    @property
    def cost(self) -> Total:
        """The cost of all, in millionths of a dollar."""
        whole = UNKNOWN
        for one in self.classes:
            whole = whole.plus(one.cost)
        return whole

    def answer(self, source: Source, wanted: Filter) -> Answer:
        """The classes as rows."""
        head = dispatch_list.head(source, wanted, self.failed + self.waiting)
        head |= {"failed_count": self.failed, "waiting_count": self.waiting, COST: sum_document(self.cost)}
        return Answer(head, tuple(FailureClass("", "agent", "").document()), [one.document() for one in self.classes])


def failures(source: Source, wanted: Filter, outcomes: Outcomes) -> Failures:
    """The classes of the wanted dispatches that failed or wait."""
    waiting = outcomes.statuses("waiting")
    classes: dict[tuple[str, str], FailureClass] = {}
    known: dict[tuple[Any, ...], FailureClass] = {}
    for status in outcomes.statuses("failed", "waiting"):
        if not wanted.status or status in wanted.status:
            rows, unclear = _rows(source, wanted._replace(status=(status,))), list[tuple[Any, ...]]()
            _add(classes, known, _set_apart(rows, unclear), waits=status in waiting)
            said = dict(kept_logs.last_errors(source, [row[_IDENTITY:] for row in unclear]))
            _add(classes, known, iter(unclear), waits=status in waiting, said=said)
    for one in classes.values():
        one.examples = sorted(one.examples, key=lambda example: str(example["updated_utc"]), reverse=True)[:EXAMPLES]
    ordered = sorted(classes.values(), key=lambda one: (-one.count, one.name))
    waits = sum(one.waiting for one in ordered)
    return Failures(ordered, sum(one.count for one in ordered) - waits, waits)


def _rows(source: Source, wanted: Filter) -> Iterator[tuple[Any, ...]]:
    """Rows of one status after another, each newest first from an index, because sorting all would take the longest."""
    condition, values = where(source, wanted)
    columns = f"{_COLUMNS}, {source.dialect.identity}"
    sql = f"SELECT {columns} FROM {source.dialect.commits} AS d{condition} ORDER BY d.updated_utc DESC"
    return source.rows(sql, values)


def _set_apart(rows: Iterator[tuple[Any, ...]], unclear: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """Yield the rows whose question gives a reason; put the newest of those with only an exit status into `unclear`."""
    for row in rows:
        if len(unclear) < _LOGS_READ and kept_logs.is_only_status(row[0]):
            unclear.append(row)
        else:
            yield row


def _add(
    classes: dict[tuple[str, str], FailureClass],
    known: dict[tuple[Any, ...], FailureClass],
    rows: Iterator[tuple[Any, ...]],
    *,
    waits: bool,
    said: Mapping[tuple[Any, ...], str] = MappingProxyType({}),
) -> None:
    """Count the rows of one status. `known` caches the class of each reason without digits; `said` has the errors found
    in logs."""
    shown: Counter[int] = Counter()
    for question, passed, build, test, lint, updated, org, repo, agent, workspace, cost, *identity in rows:
        error = said.get(tuple(identity), "") if said else ""
        key = (alike(error or question) if question else "", passed, build, test, lint)
        found = known.get(key)
        if found is None:
            found = known[key] = _class_of(classes, key[0], key[1:])
        found.count += 1
        found.waiting += waits
        found.repositories.add((org, repo))
        found.agents.add(agent)
        if cost is not None:
            found.cost = found.cost.plus(Total(cost, 1))
        found.last_utc = max(found.last_utc, updated)
        found.first_utc = min(found.first_utc or updated, updated)
        if shown[id(found)] < EXAMPLES:
            shown[id(found)] += 1
            example = {"updated_utc": updated, "workspace": workspace, "agent": agent}
            found.examples.append(absent_as_null({**example, "text": f"{question}: {error}" if error else question}))


def _class_of(classes: dict[tuple[str, str], FailureClass], question: str, verdicts: tuple[Any, ...]) -> FailureClass:
    passed, build, test, lint = verdicts
    name, cause = failure_class(question, (passed, build, test, lint)) or _UNKNOWN, host_cause(question)
    if (name, cause) not in classes:
        classes[name, cause] = FailureClass(name, "host" if cause else "agent", cause)
    return classes[name, cause]
