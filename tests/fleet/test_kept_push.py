"""`[[push]] files = true`: what is kept of the dispatches' files, at a fleet and back."""

from __future__ import annotations

import contextlib
import json
import zlib
from pathlib import Path

import pytest
import support

from agentic_watch.history.store import History
from agentic_watch.workspace.kept_part import KeptFile, kept_file
from fleet import samples
from fleet.conftest import Database
from fleet.http_server import serving
from fleet.pusher import Pusher

LOG = b"working\nValueError: totals differ\n"
KEPT = kept_file(".meta/agent.log", 90_000, 90_000 - len(LOG), LOG)


@pytest.fixture
def pusher(tmp_path: Path) -> Pusher:
    return Pusher(tmp_path)


def fill(pusher: Pusher, *kept: KeptFile) -> None:
    """One failed dispatch with files, and one without."""
    with contextlib.closing(History(str(pusher.history))) as history:
        fields = {"status": "failed", "question": "exit status 1", "workspace": "acme/billing/task-1"}
        history.insert([samples.row(1, **fields)._replace(kept=kept), samples.row(2)])


def ask(pusher: Pusher, *words: str) -> str:
    """What a question of the fleet is answered with, by a role that may only read."""
    result = support.run([*pusher.arguments()[:2], *words, "--fleet", "reading"], pusher.base)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_files_go_to_a_fleet_that_wants_them(database: Database, pusher: Pusher) -> None:
    """Once, however often it is pushed; `show` and `failures` know them there."""
    pusher.postgres(database.dsn(), files=True)
    pusher.postgres(database.dsn("reader"), "reading")
    fill(pusher, KEPT, kept_file("z.log", 2, 0, b"\xff\x00"))
    for _ in range(2):
        assert pusher.run("--to", "fleet").returncode == 0
    found = database.query("SELECT name, bytes, kept_from, content FROM kept_files ORDER BY name")
    assert [(name, size, start, zlib.decompress(content)) for name, size, start, content in found] == [  # type: ignore[arg-type]
        (".meta/agent.log", 90_000, 90_000 - len(LOG), LOG),
        ("z.log", 2, 0, b"\xff\x00"),
    ]
    assert "ValueError: totals differ" in ask(pusher, "show", "acme/billing/task-1")
    assert ask(pusher, "show", "acme/billing/task-1", "--file", "agent.log") == LOG.decode()
    (row,) = json.loads(ask(pusher, "failures", "--json", "--since", "2026-01-01"))["rows"]
    assert row["class"] == "ValueError: totals differ"


def test_they_stay_here_by_default(database: Database, pusher: Pusher) -> None:
    """Nobody sends what agents printed without being told to."""
    pusher.postgres(database.dsn())
    fill(pusher, KEPT)
    assert pusher.run().returncode == 0
    assert database.query("SELECT * FROM kept_files") == []
    assert len(database.commits()) == 2


def test_a_fleet_of_an_earlier_program_answers_without_them(database: Database, pusher: Pusher) -> None:
    """Its tables have no kept_files: answers go on, a push that has none too, and one that has some says what to do."""
    database.query("DROP TABLE kept_files")
    pusher.postgres(database.dsn())
    pusher.postgres(database.dsn("reader"), "reading")
    fill(pusher, KEPT)
    assert pusher.run("--to", "fleet").returncode == 0
    told = json.loads(ask(pusher, "show", "acme/billing/task-1", "--json"))
    assert (told["kept_files"], told["dispatch"]["question"]) == ([], "exit status 1")
    (row,) = json.loads(ask(pusher, "failures", "--json", "--since", "2026-01-01"))["rows"]
    assert row["class"] == "exit status N"


def test_http_gets_them_in_the_interchange(pusher: Pusher) -> None:
    """As `export --with-files` has them, and only where they are wanted."""
    fill(pusher, KEPT)
    with serving() as with_files, serving() as without:
        pusher.http(with_files.url, "lead", files=True)
        pusher.http(without.url, "other")
        assert pusher.run().returncode == 0
    wanted = {"name": ".meta/agent.log", "bytes": 90_000, "kept_from": 90_000 - len(LOG), "text": LOG.decode()}
    ((first, second),) = (request["dispatches"] for request in with_files.requests)
    assert (first["kept_files"], "kept_files" in second) == ([wanted], False)
    assert not any("kept_files" in item for request in without.requests for item in request["dispatches"])
