"""A minute of a fleet's bad days while hosts go on committing: nothing is lost, doubled or stuck."""

from __future__ import annotations

import itertools
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import support
from support import wait_for

from agentic_watch.history.columns import HISTORY_COLUMNS
from agentic_watch.history.store import History
from fleet import samples
from fleet.conftest import Database
from fleet.pusher import Pusher
from fleet.servers import Proxy
from fleet.test_killed import xor

pytestmark = pytest.mark.fleet

HOSTS = 3
HUGE = 2**63 - 1
REFUSED = 13
"""The issue whose commits a trigger refuses."""
LIMITED = """
import agentic_watch.fleet.postgres_connection as connection
connection.TRANSACTION_SECONDS = 2.0
from agentic_watch.cli import main
main()"""
TRIGGER = """
CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.issue = {refused} THEN RAISE EXCEPTION 'not this one'; END IF;
  PERFORM pg_sleep({seconds}); RETURN NEW; END $$"""


@contextmanager
def following(pusher: Pusher) -> Iterator[None]:
    """`push --follow` whose transactions may take two seconds, as a process."""
    arguments = [sys.executable, "-c", LIMITED, *pusher.arguments("--follow")]
    with (pusher.base / "follow.log").open("ab") as log:
        process = subprocess.Popen(arguments, env=support.environment(pusher.base), stderr=log, cwd="/")
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    assert (code, "Traceback" in pusher.log()) == (0, False), pusher.log()[-2000:]


@contextmanager
def committing(pusher: Pusher, ids: list[str]) -> Iterator[None]:
    """Commit as a daemon does, ten in half a second: each tenth with a large report, some with planted numbers."""
    enough = threading.Event()
    chance = random.Random(str(pusher.base.name))

    def work() -> None:
        with closing(History(str(pusher.history))) as store:
            for number in itertools.count(0, 10):
                for one in range(number, number + 10):
                    report: dict[str, Any] = {"changes": {"insertions": chance.choice((7, HUGE)), "deletions": HUGE}}
                    if not one % 10:
                        report["findings"] = [{"tool": "x", "message": "y" * 100} for _ in range(500)]
                    row = samples.row(one, root=str(pusher.base), report=report)
                    store.insert([row])
                    ids.append(row.values[HISTORY_COLUMNS.index("commit_id")])
                if enough.wait(0.5):
                    return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def test_a_minute_of_chaos(database: Database, tmp_path: Path) -> None:
    """A slow server, a mute one, a slow link, cut connections and planted numbers: in the end all is there, once."""
    ids: list[str] = []
    started = time.monotonic()
    slow = TRIGGER.format(refused=REFUSED, seconds=0.03)
    quick = TRIGGER.format(refused=REFUSED, seconds=0)
    database.query(quick)
    database.query("CREATE TRIGGER meddle BEFORE INSERT ON dispatches FOR EACH ROW EXECUTE FUNCTION meddle()")
    with Proxy(database.server.port) as proxy, ExitStack() as stack:
        pushers = [Pusher(tmp_path / f"host-{number}") for number in range(HOSTS)]
        for pusher in pushers:
            pusher.postgres(database.dsn("postgres", proxy.port), interval_seconds=1)
            with closing(History(str(pusher.history))) as store:
                store.open()  # where there is no state directory a pusher ends, and its service starts it anew
            stack.enter_context(following(pusher))
        with ExitStack() as load:
            for pusher in pushers:
                load.enter_context(committing(pusher, ids))
            assert phase(database, proxy, 13, slow) > 0, "slow server"
            phase(database, proxy, 9, quick, lambda _number, _data, _sent: "hold")
            assert phase(database, proxy, 13, quick, throttled) > 0, "slow link"
            assert phase(database, proxy, 9, quick, Cutting()) > 0, "cut connections"
        proxy.meddle = lambda *_: "pass"
        assert time.monotonic() - started > 40
        expected = len(ids) - HOSTS  # each host has one commit that is refused
        wait_for(lambda: len(database.commits()) >= expected, 60)
        ((findings,),) = database.query("SELECT count(*) FROM findings")
        answers(pushers[0], expected)
    dead = [row for pusher in pushers for row in pusher.query("SELECT commit_id, cause FROM dead_letters")]
    assert [cause for _, cause in dead] == ["not this one"] * HOSTS
    assert xor(database.commits()) == xor(ids) ^ xor(commit_id for commit_id, _ in dead)
    assert len(set(database.commits())) == expected
    assert findings == 500 * sum(len(list(pusher_big(pusher))) for pusher in pushers)


def pusher_big(pusher: Pusher) -> Iterator[Any]:
    """Its commits with a large report."""
    yield from support.query(pusher.history, "SELECT id FROM dispatch_history WHERE findings_count > 0")


def phase(database: Database, proxy: Proxy, seconds: float, trigger: str, meddle: Any = None) -> int:
    """Some seconds of one fault; gives how many commits arrived meanwhile."""
    database.query(trigger)
    proxy.meddle = meddle or (lambda *_: "pass")
    before = len(database.commits())
    time.sleep(seconds)  # what is tested is that so long a fault does no harm
    return len(database.commits()) - before


def throttled(_number: int, data: bytes, _sent: int) -> str:
    """A link of 200 kB a second."""
    time.sleep(len(data) / 200_000)
    return "pass"


class Cutting:
    """Each fifteenth packet is the last one of its connection; whether it arrives is a matter of luck."""

    def __init__(self) -> None:
        self._seen = itertools.count(1)

    def __call__(self, _number: int, _data: bytes, sent: int) -> str:
        seen = next(self._seen)
        return ("swallow", "cut")[seen % 2] if sent and not seen % 15 else "pass"


def answers(pusher: Pusher, expected: int) -> None:
    """No number that an agent planted ends an answer for everybody."""
    for question in (["stats", "--by", "host"], ["stats", "--by", "day"], ["digest", "--since", "2026-01-01"]):
        result = support.run([*pusher.arguments()[:2], *question, "--json", "--fleet", "fleet"], pusher.base)
        assert result.returncode == 0, result.stderr
        total = json.loads(result.stdout)["total"]
        assert total["dispatches_count"] == expected
        assert total["lines_per_dispatch"] > HUGE
