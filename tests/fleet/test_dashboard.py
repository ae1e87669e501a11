"""The Grafana dashboard of docs/: each of its questions is one that the tables answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fleet.conftest import Database

FILE = Path(__file__).parents[2] / "docs" / "fleet-dashboard.json"
PANELS: list[dict[str, Any]] = json.loads(FILE.read_text("utf-8"))["panels"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_is_answered(database: Database, panel: dict[str, Any]) -> None:
    """The SQL of each panel runs as it stands, with Grafana's times put in."""
    (target,) = panel["targets"]
    sql = target["rawSql"].replace("$__timeFrom()", "now() - interval '7 days'").replace("$__timeTo()", "now()")
    assert isinstance(database.query(sql), list)
