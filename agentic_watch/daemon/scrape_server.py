"""The server of the metrics address: a few threads at most, and none for a connection that says nothing."""

from __future__ import annotations

import socket
import threading
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

_AT_ONCE = 8
_SILENT_SECONDS = 5.0


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
