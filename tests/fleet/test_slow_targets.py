"""Targets that are slow, silent, or refuse one commit: each wait has an end, and nothing holds up the rest."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import support
from support import wait_for

from agentic_watch.config import Target
from agentic_watch.fleet import http_target, one_push, postgres_connection, postgres_schema, target_comparison
from agentic_watch.fleet.one_push import Pushed
from agentic_watch.fleet.outbox import Largest
from agentic_watch.fleet.target_interface import Pace, TimedOut, Unavailable
from fleet import samples
from fleet.conftest import Database
from fleet.http_server import OK, serving
from fleet.pusher import Pusher
from fleet.servers import Proxy

TRIGGER = """
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$;
CREATE TRIGGER meddle BEFORE INSERT ON dispatches FOR EACH ROW EXECUTE FUNCTION meddle()"""


def target_of(base: Path, dsn: str) -> Target:
    base.mkdir(parents=True, exist_ok=True)
    (base / "dsn").write_text(dsn, "utf-8")
    return Target("fleet", "postgres", dsn_file=str(base / "dsn"))


def push(base: Path, target: Target, pace: Pace | None = None) -> Pushed:
    """One push in this process, whose limits a test may set."""
    with one_push.opened(str(base / "history.db")) as opened:
        return one_push.push(target, opened, pace=pace)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second for a transaction, half of one for a statement."""
    monkeypatch.setattr(postgres_connection, "TRANSACTION_SECONDS", 1.0)
    monkeypatch.setattr(postgres_connection, "ANSWER_SECONDS", 1.0)


def let_the_server_cancel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a second for a statement: who then has to wait for the server's word has the usual time."""
    monkeypatch.setattr(postgres_connection, "statement_timeout", lambda _: "SET LOCAL statement_timeout = 500")


def test_a_server_that_is_slow_row_by_row_gets_less_at_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all at once would take longer than the limit, smaller batches arrive, in one push."""
    let_the_server_cancel(monkeypatch)
    database.query(TRIGGER.format("PERFORM pg_sleep(0.01);"))
    ids = samples.fill(tmp_path / "history.db", range(150))
    pace = Pace()
    pushed = push(tmp_path, target_of(tmp_path, database.dsn()), pace)
    assert (pushed.error, pushed.sent, database.commits()) == (None, 150, ids)
    largest = Largest(500, 2**23)
    assert 1 <= pace.batch(largest).commits < 150
    database.query("DROP TRIGGER meddle ON dispatches")
    monkeypatch.undo()  # fast is what takes less than many seconds
    samples.fill(tmp_path / "history.db", range(150, 1_200))  # batches of 1, 2, 4 … 256 and 512
    pushed = push(tmp_path, target_of(tmp_path, database.dsn()), pace)
    assert pushed.sent == 1_050
    assert pace.batch(largest) == largest, "what answers fast is given more again"


def test_a_commit_that_takes_for_ever_is_set_aside(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One commit over which the server never ends is found, kept with its cause, and holds up no other."""
    let_the_server_cancel(monkeypatch)
    database.query(TRIGGER.format("IF NEW.issue = 7 THEN PERFORM pg_sleep(60); END IF;"))
    ids = samples.fill(tmp_path / "history.db", range(20))
    pushed = push(tmp_path, target_of(tmp_path, database.dsn()))
    assert [refusal.commit.columns["issue"] for refusal in pushed.refused] == [7]
    assert "statement timeout" in pushed.refused[0].cause
    assert (pushed.error, pushed.sent, len(database.commits())) == (None, 19, len(ids) - 1)


def test_what_a_trigger_raises_for_one_is_about_that_one(database: Database, tmp_path: Path) -> None:
    """A plain RAISE for one commit of sixty sets that one aside, and the others arrive."""
    database.query(TRIGGER.format("IF NEW.issue = 7 THEN RAISE EXCEPTION 'not this one'; END IF;"))
    pusher = Pusher(tmp_path)
    pusher.postgres(database.dsn())
    pusher.fill(range(60))
    code, document, _ = pusher.push()
    (one,) = document["targets"]
    assert (code, one["sent_count"], one["dead_letters_count"], one["error"]) == (3, 59, 1, None)
    assert one["rejected"][0]["error"] == "not this one"


@pytest.fixture
def mute(database: Database) -> Iterator[str]:
    """The connection string of a server that lets a client in, and answers nothing that it is asked then."""
    with Proxy(database.server.port) as proxy:
        proxy.meddle = lambda _number, data, sent: (
            "hold" if (sent and b"SELECT" in data) or b"CREATE" in data else "pass"
        )
        yield database.dsn("postgres", proxy.port)


@pytest.mark.usefixtures("hasty")
def test_no_question_waits_for_ever(mute: str, tmp_path: Path) -> None:
    """check --fleet and push --init end with a server that lets them in and then is silent."""
    target = target_of(tmp_path, mute)
    samples.fill(tmp_path / "history.db", range(3))
    began = time.monotonic()
    with one_push.opened(str(tmp_path / "history.db")) as opened, pytest.raises(TimedOut, match="no complete answer"):
        target_comparison.compare(target, opened)
    with pytest.raises(TimedOut):
        postgres_schema.make_for(target, None, time.gmtime())
    assert push(tmp_path, target).error
    assert time.monotonic() - began < 60


def test_a_server_that_only_accepts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes the connection and says not even hello is given up, too."""
    monkeypatch.setattr(postgres_connection, "CONNECT_SECONDS", 2)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        target = target_of(tmp_path, f"host=127.0.0.1 port={listener.getsockname()[1]} dbname=x user=y")
        began = time.monotonic()
        with pytest.raises(Unavailable):
            postgres_schema.make_for(target, None, time.gmtime())
        assert time.monotonic() - began < 60


def test_no_target_waits_for_another(database: Database, mute: str, tmp_path: Path) -> None:
    """While one target is silent the others of the same push get everything, and hooks run."""
    pusher = Pusher(tmp_path)
    pusher.postgres(mute, "mute")
    pusher.postgres(database.dsn())
    pusher.hooks.append({"on": ["failed"], "command": ["/usr/bin/touch", str(tmp_path / "told")]})
    ids = pusher.fill(range(30), committed_at=support.STARTED)
    process = subprocess.Popen(support.command(pusher.arguments()), env=support.environment(tmp_path), cwd="/")
    try:
        wait_for(lambda: database.commits() == ids, 30)
        assert process.poll() is None, "the silent one is still waited for"
    finally:
        process.kill()
        process.wait()


def test_a_slow_http_server_gets_less_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver that needs its time for each item is given fewer, down to what it takes within the limit."""
    monkeypatch.setattr(http_target, "REQUEST_SECONDS", 1.0)

    def slowly(items: list[Any]) -> Any:
        time.sleep(0.03 * len(items))
        return OK

    ids = samples.fill(tmp_path / "history.db", range(120))
    with serving() as server:
        server.script = [slowly] * 200
        pushed = push(tmp_path, Target("lead", "http", url=server.url))
        server.script.clear()
    assert (pushed.error, pushed.sent) == (None, 120)
    assert sorted(set(server.taken)) == ids
    sizes = [len(request["dispatches"]) for request in server.requests]
    assert sizes[0] == 100
    assert min(sizes) < 30


def test_a_newer_fleet_is_left_alone(database: Database, tmp_path: Path) -> None:
    """Tables of a newer program are refused by a push that may see their version, and nothing is sent."""
    database.query("INSERT INTO fleet_schema VALUES (99)")
    database.query("GRANT SELECT ON fleet_schema TO pusher")
    pusher = Pusher(tmp_path)
    pusher.postgres(database.dsn())
    pusher.fill(range(3))
    code, document, _ = pusher.push()
    assert (code, document["targets"][0]["sent_count"], database.commits()) == (1, 0, [])
    assert "the tables have version 99" in document["targets"][0]["error"]
    assert "use the newer program" in document["targets"][0]["error"]


@pytest.mark.parametrize("column", ["dispatches.pr_url", "dispatches.received_at", "findings.title", "hosts.pending"])
def test_init_brings_tables_up_to_date(database: Database, tmp_path: Path, column: str) -> None:
    """A column that is lacking is added by --init, which says so; what was sent before stays, and pushes go on."""
    pusher = Pusher(tmp_path)
    pusher.postgres(database.dsn("postgres"))
    pusher.fill(range(3))
    assert pusher.push()[0] == 0
    table, name = column.split(".")
    database.query(f"ALTER TABLE {table} DROP COLUMN {name}")
    ids = sorted([*database.commits(), *pusher.fill(range(3, 6))])
    if name != "received_at":
        assert "push --init" in pusher.push()[2]
    made = pusher.run("--init")
    assert (made.returncode, made.stderr.splitlines()[0]) == (0, f"fleet: added {column}")
    assert pusher.run("--init").stderr == "fleet: the tables are ready\n"
    assert pusher.push()[0] == 0
    assert database.commits() == ids
