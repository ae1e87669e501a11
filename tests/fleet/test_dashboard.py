"""The Grafana dashboard of docs/: each of its questions is one that the tables answer."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentic_watch.fleet.postgres_target import PostgresTarget
from agentic_watch.fleet.target_interface import Sender
from agentic_watch.workspace.instant import now_text
from fleet import samples
from fleet.conftest import Database

FILE = Path(__file__).parents[2] / "docs" / "fleet-dashboard.json"
PANELS: list[dict[str, Any]] = json.loads(FILE.read_text("utf-8"))["panels"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_is_answered(database: Database, panel: dict[str, Any]) -> None:
    """The SQL of each panel runs as it stands, with Grafana's times put in, whatever numbers an agent planted."""
    huge = 2**63 - 1
    report = {"changes": {"files_changed": huge, "insertions": huge, "deletions": huge}, "findings": [{"line": huge}]}
    times = [f"{now_text()[:-1]}.{number}Z" for number in range(3)]
    times += ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00.5Z", "9999-12-31T23:59:59.999999999Z"]
    commits = [samples.commit(n, updated_at=when, issue=huge, report=report) for n, when in enumerate(times)]
    with closing(PostgresTarget(database.dsn(), Sender(samples.HOST_ID, "", "host-a", "1.0"))) as target:
        assert target.deliver(commits) == []
        target.report(huge, huge)
    database.query("INSERT INTO hosts SELECT gen_random_uuid(), host, version, '', pending, pending FROM hosts")
    (target,) = panel["targets"]
    sql = target["rawSql"].replace("$__timeFrom()", "now() - interval '7 days'").replace("$__timeTo()", "now()")
    assert isinstance(database.query(sql), list)
