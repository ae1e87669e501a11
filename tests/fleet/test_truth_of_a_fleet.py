"""Every answer of a fleet of two hosts against the same plain Python as a host's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import test_truth
import truth
from test_truth import (  # noqa: F401  the same tests, of a fleet
    test_a_digest,
    test_a_limit_is_one_in_every_form,
    test_changed_findings,
    test_compared_spans,
    test_csv_is_no_spreadsheet_formula,
    test_days_of_a_zone,
    test_failures,
    test_findings,
    test_lists,
    test_moved_workspaces,
    test_search,
    test_search_without_accents,
    test_stats,
)

from agentic_watch.answers.past import fleet_source
from agentic_watch.config import Target
from fleet.pusher import Pusher
from fleet.servers import Postgres

pytestmark = pytest.mark.fleet


class AskedFleet(test_truth.Asked):
    """A fleet that has what two hosts pushed."""

    folded = False
    knows_moves = False

    def __init__(self, commits: list[truth.Commit], pusher: Pusher) -> None:
        super().__init__(commits, *pusher.arguments()[:2], more=("--fleet", "fleet"))
        self._target = Target("fleet", "postgres", dsn_file=pusher.targets[0]["dsn_file"])

    @contextlib.contextmanager
    def answering(self) -> Iterator[Any]:
        with fleet_source.fleet(self._target) as opened:
            yield opened


@pytest.fixture(scope="module")
def asked(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> AskedFleet:
    name = tmp_path_factory.mktemp("truth").name
    server.execute(f"CREATE DATABASE {name} TEMPLATE fleet_template")
    commits = truth.past()
    for host in ("host-1", "host-2"):
        pusher = Pusher(tmp_path_factory.mktemp(host))
        pusher.postgres(server.dsn(name))
        pusher.history.parent.mkdir()
        test_truth.make(pusher.history, [one for one in commits if one.host == host])
        code, document, _ = pusher.push()
        assert (code, document["targets"][0]["pending_count"]) == (0, 0)
    ((there,),) = server.execute("SELECT count(*) FROM dispatches", name)
    assert there == len(commits)
    server.execute("ANALYZE", name)  # as the server does by itself within a minute
    return AskedFleet(commits, pusher)
