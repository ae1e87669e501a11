"""What the answers ask of a fleet is asked in words that PostgreSQL, CockroachDB, YugabyteDB and Citus share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from agentic_watch.answers.past.digest import digest
from agentic_watch.answers.past.dispatch_list import head
from agentic_watch.answers.past.failures import failures
from agentic_watch.answers.past.filters import Filter
from agentic_watch.answers.past.findings import changes, recurring
from agentic_watch.answers.past.fleet_source import PostgresSource, fleet_dispatch
from agentic_watch.answers.past.outcomes import Outcomes
from agentic_watch.answers.past.stats import compare, stats
from agentic_watch.answers.past.stats_query import BY, Question
from agentic_watch.fleet import postgres_connection
from agentic_watch.fleet.postgres_target import PostgresTarget
from agentic_watch.fleet.target_interface import Sender
from fleet import samples
from fleet.conftest import Database
from fleet.test_portable_sql import numbered, objections

DAY = "2026-04-01T00:00:00.000000000Z"


@dataclass
class Recording:
    """A fleet that is asked in truth, and keeps what it was asked."""

    asked_of: PostgresSource
    asked: list[str] = field(default_factory=list)

    @property
    def dialect(self) -> Any:
        return self.asked_of.dialect

    def rows(self, sql: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        self.asked.append(sql)
        return self.asked_of.rows(sql, values)

    def named(self, sql: str, values: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
        self.asked.append(sql)
        return self.asked_of.named(sql, values)

    def search_value(self, text: str) -> Any:
        return self.asked_of.search_value(text)


def test_every_answer_is_portable(database: Database) -> None:
    """Each question of each answer runs, and holds nothing that one of the four has not, or lies about."""
    sender = Sender(samples.HOST_ID, "", "host-a", "1.0")
    with closing(PostgresTarget(database.dsn(), sender)) as target:
        target.deliver([samples.commit(number, report=samples.REPORT) for number in range(30)])
    with closing(postgres_connection.connect(database.dsn("reader"))) as connection:
        fleet = Recording(PostgresSource(connection, "fleet"))
        for wanted in (Filter(), Filter(since=DAY, repo=("repo1", "repo2"), agent=("codex",), search="task")):
            for by in BY:
                stats(fleet, Question(wanted, by))
            compare(fleet, Question(wanted), 86_400, 1.8e9)
            failures(fleet, wanted, Outcomes())
            for by in ("rule", "file", "tool", "repo"):
                recurring(fleet, wanted, by)
            for kind in ("new", "gone", "persistent"):
                changes(fleet, wanted, kind)  # type: ignore[arg-type]
            head(fleet, wanted, 1)
        digest(fleet, Filter(since=DAY), Outcomes(), 1.8e9)
        fleet_dispatch(fleet, "acme/repo1/task-1")
    assert len(fleet.asked) > 30
    found = {sql: causes for sql in fleet.asked if (causes := list(objections(numbered(sql))))}
    assert found == {}
