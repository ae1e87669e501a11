"""`check --fleet`: does the fleet have what this host sent, and can it be sent again?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import support

from fleet.conftest import Database
from fleet.pusher import Pusher


@pytest.fixture
def pusher(database: Database, tmp_path: Path) -> Pusher:
    made = Pusher(tmp_path)
    made.postgres(database.dsn("postgres"))
    made.fill(range(100))
    assert made.push()[0] == 0
    return made


def check(pusher: Pusher, *options: str) -> tuple[int, Any]:
    pusher.arguments()
    arguments = ["--config", str(pusher.base / "config.toml"), "check", "--fleet", "--json", *options]
    result = support.run(arguments, pusher.base)
    return result.returncode, json.loads(result.stdout)


def test_all_is_there(pusher: Pusher) -> None:
    """Counts and XOR are equal on every day, and what is not sent yet is not missed."""
    pusher.fill(range(100, 110))
    code, document = check(pusher)
    assert (code, document["ok"], document["rows"]) == (0, True, [])


def test_what_was_lost_is_named_and_sent_again(database: Database, pusher: Pusher) -> None:
    """Days that lack commits are named with their numbers; --repair sends those, with their findings."""
    ids = database.commits()
    database.query("DELETE FROM findings WHERE commit_id IN (SELECT commit_id FROM dispatches WHERE id IN (1, 2, 29))")
    database.query("DELETE FROM dispatches WHERE id IN (1, 2, 29)")
    code, document = check(pusher)
    assert code == 1
    assert [finding["error"] for finding in document["rows"]] == [
        "fleet: 2026-04-01: 4 sent, 2 there, 2 missing",
        "fleet: 2026-04-02: 4 sent, 3 there, 1 missing",
    ]
    code, document = check(pusher, "--repair")
    assert (code, document["ok"]) == (0, True)
    assert {finding["repaired"] for finding in document["rows"]} == {True}
    assert database.commits() == ids
    assert database.query("SELECT count(*) FROM findings") == [(2 * len(range(0, 100, 3)),)]
    assert check(pusher) == (0, {**document, "rows": []})


def test_a_swap_that_keeps_the_count_is_seen(database: Database, pusher: Pusher) -> None:
    """One commit lost and a foreign one there: the count is right, the XOR is not."""
    database.query("UPDATE dispatches SET commit_id = '00000000-0000-0000-0000-000000000001' WHERE id = 5")
    code, document = check(pusher)
    texts = [finding["error"] for finding in document["rows"]]
    assert (code, texts[0]) == (1, "fleet: 2026-04-05: 4 sent, 4 there, 1 missing")
    assert texts[1].startswith("fleet: 1 more there, on 1 day from 2026-04-05 on")


def test_a_renamed_root_is_said_with_what_to_do(database: Database, pusher: Pusher) -> None:
    """Its commits have new ids: they are sent by --repair, and the old ones named, with the SQL that removes them."""
    (root,) = {row["root"] for row in support.query(pusher.history, "SELECT root FROM dispatch_history")}
    config = ["--config", str(pusher.base / "config.toml")]
    pusher.arguments()
    renamed = support.run([*config, "rename-root", root, "o'hara"], pusher.base)
    assert renamed.returncode == 0
    assert "check --fleet --repair" in renamed.stderr
    code, document = check(pusher)
    old = document["rows"][-1]
    assert code == 1
    assert {finding["next"] for finding in document["rows"][:-1]} == {"agentic-watch check --fleet --repair"}
    assert old["error"].startswith(
        f"fleet: 100 commits there are under the root {root}, which this history does not have"
    )
    code, document = check(pusher, "--repair")
    assert (code, database.query("SELECT count(*) FROM dispatches")) == (0, [(200,)])
    for statement in old["next"].partition(": ")[2].split("; "):
        database.query(statement)
    assert database.query("SELECT count(*) FROM findings") == [(2 * len(range(0, 100, 3)),)]
    assert check(pusher) == (0, {**document, "rows": [], "checks": {"fleet": True}})


def test_what_cannot_be_known(database: Database, pusher: Pusher, tmp_path: Path) -> None:
    """A target that cannot be asked, a role that may not read, and a host that never pushed are told apart."""
    pusher.targets.clear()
    pusher.http("https://lead.example.org")
    code, document = check(pusher)
    assert (code, document["checks"], document["rows"][0]["ok"]) == (0, {"fleet": None}, None)
    pusher.targets.clear()
    pusher.postgres(database.dsn("poor"))
    code, document = check(pusher)
    assert (code, "permission denied" in document["rows"][0]["error"]) == (1, True)
    fresh = Pusher(tmp_path / "fresh")
    fresh.postgres(database.dsn())
    fresh.fill(range(1))
    before = support.snapshot(fresh.history.parent)
    assert check(fresh)[0] == 0
    assert support.snapshot(fresh.history.parent) == before
