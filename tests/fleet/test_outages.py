"""Servers that go and come back while hosts push, and a real pgbouncer between them."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from support import NOBODY, free_port, wait_for

from agentic_watch.history.store import History
from fleet import samples
from fleet.conftest import Database
from fleet.pusher import Pusher
from fleet.servers import Postgres, Proxy, unprivileged
from fleet.test_killed import xor

HOSTS = 3


@pytest.fixture
def own_server(server: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database on the tests' server, which is running again afterwards."""
    name = f"outage_{os.getpid()}_{free_port()}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE fleet_template")
    yield Database(server, name)
    server.stop()
    server.start()


def hosts(base: Path, dsn: str) -> list[Pusher]:
    pushers = []
    for number in range(HOSTS):
        pusher = Pusher(base / f"host-{number}")
        pusher.postgres(dsn, interval_seconds=1)
        pushers.append(pusher)
    return pushers


@contextmanager
def following(pushers: list[Pusher]) -> Iterator[None]:
    with ExitStack() as stack:
        for pusher in pushers:
            stack.enter_context(pusher.following())
        yield


@contextmanager
def loading(pushers: list[Pusher], ids: list[str]) -> Iterator[threading.Event]:
    """Commit on every host, as a daemon does, until told to stop."""
    enough = threading.Event()

    def work(pusher: Pusher) -> None:
        with closing(History(str(pusher.history))) as store:
            for start in itertools.count(0, 40):
                ids.extend(samples.insert(store, range(start, start + 40), root=str(pusher.base)))
                if enough.wait(0.1):
                    return

    threads = [threading.Thread(target=work, args=(pusher,)) for pusher in pushers]
    for thread in threads:
        thread.start()
    try:
        yield enough
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def arrived(database: Database, ids: list[str]) -> bool:
    try:
        return len(database.commits()) == len(ids)
    except Exception:  # noqa: BLE001  the server may be away
        return False


@pytest.mark.fleet
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_the_server_goes_and_comes_back(own_server: Database, tmp_path: Path, how: signal.Signals) -> None:
    """Stopped under load, in order or at once, and started again: each commit of each host is there once."""
    pushers = hosts(tmp_path, own_server.dsn())
    ids: list[str] = []
    with following(pushers):
        with loading(pushers, ids):
            wait_for(lambda: len(own_server.commits()) > 100)
            own_server.server.stop(how)
            wait_for(lambda: all("tried again" in pusher.log() for pusher in pushers))
            own_server.server.start()
            wait_for(lambda: all("answers again" in pusher.log() for pusher in pushers), 60)
        wait_for(lambda: arrived(own_server, ids), 60)
    assert xor(own_server.commits()) == xor(ids)


@pytest.mark.fleet
def test_connections_cut_under_load(database: Database, tmp_path: Path) -> None:
    """A network that cuts every third transaction somewhere loses nothing and doubles nothing."""
    turn = threading.Lock()
    seen = 0

    def meddle(_number: int, data: bytes, sent: int) -> str:
        nonlocal seen
        with turn:
            seen += 1
            return ("swallow", "cut")[seen % 2] if sent and seen % 13 == 0 else "pass"

    ids: list[str] = []
    with Proxy(database.server.port) as proxy:
        proxy.meddle = meddle
        pushers = hosts(tmp_path, database.dsn("pusher", proxy.port))
        with following(pushers):
            with loading(pushers, ids):
                wait_for(lambda: seen > 150, 60)
            proxy.meddle = lambda *_: "pass"
            wait_for(lambda: arrived(database, ids), 60)
    assert xor(database.commits()) == xor(ids)
    ((doubled,),) = database.query("SELECT count(*) - count(DISTINCT commit_id) FROM dispatches")
    assert doubled == 0


def test_two_pushers_of_one_host(database: Database, tmp_path: Path) -> None:
    """Two processes that push the same history at once both end well, and each commit is there once."""
    pusher = Pusher(tmp_path)
    pusher.postgres(database.dsn(), interval_seconds=1)
    ids = pusher.fill(range(2000))
    with pusher.following(), pusher.following():
        for start in range(2000, 2500, 100):
            ids += pusher.fill(range(start, start + 100))
            assert pusher.push()[0] == 0
        wait_for(lambda: arrived(database, ids))
    assert xor(database.commits()) == xor(ids)
    assert pusher.push()[1]["targets"][0]["sent_count"] == 0


class Pgbouncer:
    """A real pgbouncer in transaction mode with two connections for everybody."""

    def __init__(self, base: Path, database: Database) -> None:
        program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/sbin:/bin")
        assert program, "pgbouncer is not installed: apt-get install pgbouncer"
        self.port = free_port()
        base.mkdir()
        (base / "users").write_text('"pusher" ""\n"postgres" ""\n', "utf-8")
        (base / "pgbouncer.ini").write_text(
            f"""
            [databases]
            * = host=127.0.0.1 port={database.server.port}
            [pgbouncer]
            listen_addr = 127.0.0.1
            listen_port = {self.port}
            unix_socket_dir =
            auth_type = any
            auth_file = {base}/users
            pool_mode = transaction
            default_pool_size = 2
            max_client_conn = 500
            """.replace("\n            ", "\n"),
            "utf-8",
        )
        # `auth_type = any` logs everybody in as one user, which must be named in the database's line.
        text = (base / "pgbouncer.ini").read_text("utf-8")
        (base / "pgbouncer.ini").write_text(text.replace("port=", "user=pusher port=", 1), "utf-8")
        for directory in (base, *base.parents):
            if directory.stat().st_uid == os.getuid() and directory != Path("/"):
                directory.chmod(directory.stat().st_mode | 0o055)
        if os.getuid() == 0:
            os.chown(base, NOBODY, NOBODY)
        self._process = subprocess.Popen(
            unprivileged([program, str(base / "pgbouncer.ini")]), stderr=subprocess.DEVNULL, cwd="/"
        )

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.mark.fleet
def test_through_pgbouncer_in_transaction_mode(database: Database, tmp_path: Path) -> None:
    """Three hosts through two connections of a pgbouncer, which is killed and started again on the way."""
    bouncer = Pgbouncer(tmp_path / "bouncer", database)
    try:
        pushers = hosts(tmp_path / "hosts", database.dsn("pusher", bouncer.port))
        ids: list[str] = []
        with following(pushers):
            with loading(pushers, ids):
                wait_for(lambda: len(database.commits()) > 300, 60)
            wait_for(lambda: arrived(database, ids), 60)
        assert xor(database.commits()) == xor(ids)
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND usename = 'pusher'"
        ((connections,),) = database.query(sql, database.name)
        assert connections in (1, 2)
    finally:
        bouncer.stop()
