"""Where the metrics go: a file for node_exporter, an address to be scraped at, or both. Imported late, with its extra.

The address has a few threads at most, and none for a connection that says nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from agentic_watch.config import Config
from agentic_watch.daemon.exposition import Extent, Snapshot, Snapshots, scraped, text
from agentic_watch.daemon.health import Health
from agentic_watch.fleet.backlog import Backlog, backlogs
from agentic_watch.history import HistoryError, pruned, workspaces_table
from agentic_watch.history.store import History
from agentic_watch.host.threads import left_to_main_thread
from agentic_watch.workspace import instant

log = logging.getLogger("agentic_watch.daemon")

_TELL_SECONDS = 1.0
_COUNT_SECONDS = 10.0
_AT_ONCE = 8
_SILENT_SECONDS = 5.0


class Metrics:
    """Tells how a daemon is while it runs, at the places that the configuration names. One thread."""

    def __init__(self, config: Config, health: Health) -> None:
        self._file = config.metrics.textfile
        self._config = config
        self._health = health
        self._backlogs: Mapping[str, Backlog] = {}
        self._extent = Extent()
        self._snapshots = Snapshots(Snapshot(health.state))
        self._server: tuple[WSGIServer, threading.Thread] | None = None
        self._next_tell = self._next_count = 0.0
        self._complained = False

    def listen(self, address: str) -> None:
        """Answer scrapes at an address such as `127.0.0.1:9477`, in a thread. Raises OSError when it cannot be had."""
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        family, *_ = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        kind: type[ScrapeServer] = type("Server", (ScrapeServer,), {"address_family": family})
        server = make_server(host, int(port), scraped(self._snapshots), kind, ScrapeHandler)
        with left_to_main_thread():
            thread = threading.Thread(target=server.serve_forever, name="scrapes", daemon=True)
            thread.start()
        self._server = server, thread

    def tell(self, history: History) -> None:
        """Tell how the daemon is, at most once a second."""
        now = time.monotonic()
        if now < self._next_tell:
            return
        self._next_tell = now + _TELL_SECONDS
        if now >= self._next_count:
            self._next_count = now + _COUNT_SECONDS
            with contextlib.suppress(HistoryError):
                self._extent = extent(history)
            self._backlogs = backlogs(self._config.history, self._config.push)
        told = self._snapshots.newest = Snapshot(self._health.state, self._extent, self._backlogs)
        if self._file is not None:
            self._write(self._file, told)

    def _write(self, file: str, told: Snapshot) -> None:
        try:
            write(file, told)
        except OSError as error:
            if not self._complained:
                log.warning("%s: cannot be written: %s; the metrics there are old", file, error.strerror)
            self._complained = True
        else:
            self._complained = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening; after a clean stop there is nothing left to be read."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
        if kind is None and self._file is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._file)


def extent(history: History) -> Extent:
    """Ask how large the history is. Raises HistoryError."""
    size = 0
    for path in (history.path, f"{history.path}-wal"):
        with contextlib.suppress(OSError):
            size += os.stat(path).st_size
    with history.reading() as connection:
        oldest = pruned.oldest(connection)
    seconds = instant.parse(oldest).ns / 1e9 if oldest is not None else None
    return Extent(workspaces_table.counts(history), size, seconds)


def write(path: str, snapshot: Snapshot) -> None:
    """Replace a textfile for node_exporter, atomically and readable for all. Raises OSError."""
    temporary = f"{path}.{os.getpid()}"  # does not end in .prom, so that nobody reads it
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)
            file.write(text(snapshot))
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


class ScrapeHandler(WSGIRequestHandler):
    """Serves one connection; ends one that says nothing. The log has other things to tell."""

    timeout = _SILENT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it so
        """Log nothing."""


class ScrapeServer(ThreadingMixIn, WSGIServer):
    """A thread for each connection; what comes while there are too many of them is closed."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin to serve, unless there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket.socket, client_address: Any) -> None:  # type: ignore[override]
        """Serve, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Whoever asks has gone, or says nothing: none of our affairs."""
