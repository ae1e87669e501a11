"""One PostgreSQL for each test process, a database of its own for each test."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agentic_watch.fleet import postgres_connection, postgres_schema
from fleet.servers import BIN_VARIABLE, Postgres

_NUMBERS = itertools.count(1)
_PREFIX = "agentic-watch-test-postgres-"
_YOUNG_SECONDS = 600.0
"""Another test process may have made it, and not locked it yet."""
_GRANTS = (
    "GRANT INSERT ON dispatches, findings, kept_files, hosts, host_boots TO pusher",
    "GRANT SELECT, UPDATE ON hosts, host_boots TO pusher",
    "GRANT INSERT ON dispatches, findings, hosts, host_boots TO poor",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Against Debian's server goes what needs one: all else here ran beside the other tests."""
    if os.environ.get(BIN_VARIABLE) == "debian":
        spared = [item for item in items if "server" not in getattr(item, "fixturenames", ())]
        items[:] = [item for item in items if item not in spared]
        config.hook.pytest_deselected(items=spared)


@dataclass(frozen=True, slots=True)
class Database:
    """An empty database with the fleet's tables; `pusher` may push, `poor` only insert, `reader` only read."""

    server: Postgres
    name: str

    def dsn(self, user: str = "pusher", port: int | None = None) -> str:
        return self.server.dsn(self.name, user, port)

    def query(self, sql: str, *values: object) -> list[tuple[object, ...]]:
        return self.server.execute(sql, self.name, values)

    def commits(self) -> list[str]:
        """The commit_ids that are there, one a row."""
        return [str(one) for (one,) in self.query("SELECT commit_id FROM dispatches ORDER BY commit_id")]


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """Where the server's user may look, as it may not in pytest's own. What killed runs left there goes first."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), _locked(left):
            if time.time() - left.stat().st_mtime > _YOUNG_SECONDS:
                shutil.rmtree(left)
    made = Path(tempfile.mkdtemp(prefix=_PREFIX))
    os.chmod(made, 0o755)
    try:
        with _locked(made):
            yield made
    finally:
        shutil.rmtree(made)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Raises OSError while another test process holds it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@pytest.fixture(scope="session")
def server() -> Iterator[Postgres]:
    """A PostgreSQL, and in it the database `template` from which each test gets a copy."""
    with contextlib.ExitStack() as at_end:
        running = Postgres(at_end.enter_context(_directory()))
        at_end.callback(running.stop)
        running.start()
        for user in ("pusher", "poor", "reader"):
            running.execute(f"CREATE ROLE {user} LOGIN")
        running.execute("CREATE DATABASE fleet_template")
        with postgres_connection.connect(running.dsn("fleet_template")) as connection:
            postgres_schema.make(connection)
        for grant in _GRANTS:
            running.execute(grant, "fleet_template")
        yield running


@pytest.fixture
def database(server: Postgres) -> Database:
    """A database of this test's own."""
    name = f"fleet_{next(_NUMBERS)}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE fleet_template")
    return Database(server, name)
