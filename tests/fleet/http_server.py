"""A real HTTP server that takes dispatches, or does what servers do instead."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], str]
OK: Answer = (201, {}, '{"data": {"synced": 0}}')


@dataclass
class Received:
    """Every request and every item that was taken; `script` says what the next requests get, then all get OK.

    An entry of the script is an answer; "drop" (read, then cut), "stall" (never an answer), "drip" (a byte now and
    then), "late" (taken, and answered after the client has gone); or a function of the items that gives an answer.
    """

    script: list[Any] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def next(self, document: dict[str, Any]) -> Any:
        with self.lock:
            self.requests.append(document)
            what = self.script.pop(0) if self.script else OK
        return what(document["dispatches"]) if isinstance(what, Callable) else what  # type: ignore[arg-type]


@contextlib.contextmanager
def serving() -> Iterator[Received]:
    """A server on a port of its own."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.headers.append(dict(self.headers))
            received.paths.append(self.path)
            document = json.loads(body)
            what = received.next(document)
            if what == "drop":
                self._cut()
            elif what == "stall":
                received.ended.wait(60)
                self._cut()
            elif what == "drip":
                self._drip()
            else:
                if what == "late":
                    self._take(document)
                    received.ended.wait(60)
                    return self._cut()
                if 200 <= what[0] < 300:
                    self._take(document)
                self._answer(what)
            return None

        def _take(self, document: dict[str, Any]) -> None:
            with received.lock:
                received.taken += [item["commit_id"] for item in document["dispatches"]]

        def _answer(self, what: Answer) -> None:
            status, headers, text = what
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def _drip(self) -> None:
            with contextlib.suppress(OSError):
                self.wfile.write(b"HTTP/1.1 201 Created\r\nX-Slow: ")
                while not received.ended.wait(0.02):
                    self.wfile.write(b"x")
            self._cut()

        def _cut(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    received.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield received
    finally:
        received.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
