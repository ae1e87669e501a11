"""The daemon's state as Prometheus metrics, written to a file for node_exporter or served at an address.

Imported late, with the extra `metrics`: prometheus_client makes the text.

Names follow the conventions of prometheus.io: base units, `_total` for counters, `_info`, no host label.

The address has a small number of threads, and closes silent connections.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from socketserver import ThreadingMixIn
from types import MappingProxyType, TracebackType
from typing import Any, NamedTuple, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agentic_watch.config import Config
from agentic_watch.daemon.daemon_state import LATENCY_BOUNDS, Counters, DaemonState
from agentic_watch.daemon.health import Health
from agentic_watch.fleet.backlog import Backlog, backlogs
from agentic_watch.history import HistoryError, history_file, pruned, workspaces_table
from agentic_watch.history.columns import COST_COLUMN, TOKEN_COLUMNS
from agentic_watch.history.store import History
from agentic_watch.host.new_file import new_file
from agentic_watch.host.threads import left_to_main_thread
from agentic_watch.watch import inotify_limit
from agentic_watch.workspace import instant

log = logging.getLogger("agentic_watch.daemon")

_TELL_SECONDS = 1.0
_COUNT_SECONDS = 10.0
_AT_ONCE = 8
_SILENT_SECONDS = 5.0

PREFIX = "agentic_watch_"


class Extent(NamedTuple):
    """Size of the history, None where unknown: `workspaces` on disk by state, `bytes` of the file and its WAL, and when
    its `oldest` dispatch was last updated (seconds since the epoch)."""

    workspaces: Mapping[str, int] | None = None
    bytes: int | None = None
    oldest: float | None = None


class Snapshot(NamedTuple):
    """All values exported at one moment; `waiting` is the backlog of each push target."""

    state: DaemonState
    history: Extent = Extent()
    waiting: Mapping[str, Backlog] = MappingProxyType({})


class Snapshots(Collector):
    """Exports the newest snapshot as metrics; a scrape in another thread reads a consistent one."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.newest = snapshot
        self.registry = CollectorRegistry()  # contains only our metrics
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric, with HELP and TYPE even when it has no value yet."""
        snapshot = self.newest
        yield from _gauges(snapshot)
        yield from _counters(snapshot.state)
        yield from _used(snapshot.state.counted)
        yield _latency(snapshot.state.counted)


def text(snapshot: Snapshot) -> bytes:
    """The metrics in the text format."""
    return generate_latest(Snapshots(snapshot).registry)


class Metrics:
    """Exports the metrics of a running daemon to the configured places. Used from one thread."""

    def __init__(self, config: Config, health: Health) -> None:
        self._file = config.metrics.textfile
        self._config = config
        self._health = health
        self._backlogs: Mapping[str, Backlog] = {}
        self._extent = Extent()
        self._snapshots = Snapshots(Snapshot(health.snapshot()))
        self._server: tuple[WSGIServer, threading.Thread] | None = None
        self._next_tell = self._next_count = 0.0
        self._complained = False

    def listen(self, address: str) -> None:
        """Serve scrapes at an address such as `127.0.0.1:9477`, in a thread. Raises OSError when it cannot be bound."""
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        family, *_ = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        kind: type[ScrapeServer] = type("Server", (ScrapeServer,), {"address_family": family})
        server = make_server(host, int(port), make_wsgi_app(self._snapshots.registry), kind, ScrapeHandler)
        with left_to_main_thread():
            thread = threading.Thread(target=server.serve_forever, name="scrapes", daemon=True)
            thread.start()
        self._server = server, thread

    def tell(self, history: History) -> None:
        """Export the current state, at most once a second."""
        now = time.monotonic()
        if now < self._next_tell:
            return
        self._next_tell = now + _TELL_SECONDS
        if now >= self._next_count:
            self._next_count = now + _COUNT_SECONDS
            with contextlib.suppress(HistoryError):
                self._extent = extent(history)
            self._backlogs = backlogs(self._config.history, self._config.push)
        told = self._snapshots.newest = Snapshot(self._health.snapshot(), self._extent, self._backlogs)
        if self._file is not None:
            self._write(self._file, text(told))

    def _write(self, path: str, told: bytes) -> None:
        """Replace the file atomically, readable for all."""
        try:
            with new_file(path, 0o644, replace=True, is_durable=False) as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(told)
        except OSError as error:
            if not self._complained:
                log.warning("%s: cannot write: %s; the metrics in it are stale", path, error.strerror)
            self._complained = True
        else:
            self._complained = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening; after a clean stop the file is removed."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
        if kind is None and self._file is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._file)


def extent(history: History) -> Extent:
    """Read the size of the history. Raises HistoryError."""
    size = 0
    for path in (history.path, f"{history.path}-wal"):
        with contextlib.suppress(OSError):
            size += os.stat(path).st_size
    with history.reading() as connection:
        oldest = pruned.oldest(connection)
    seconds = instant.parse(oldest).ns / 1e9 if oldest is not None else None
    return Extent(workspaces_table.counts(history), size, seconds)


def _gauges(snapshot: Snapshot) -> Iterator[Metric]:
    state, history, counted = snapshot.state, snapshot.history, snapshot.state.counted
    info = InfoMetricFamily(f"{PREFIX}build", "Version of the running program.")
    info.add_metric([], {"version": state.version})
    yield info
    started = instant.parse(state.started_at).ns / 1e9
    is_ready, is_usable = float(state.phase == "running"), float(not state.history_error)
    limit = inotify_limit("max_user_watches")
    watches, hanging = (sum(getattr(root, name) for root in state.roots) for name in ("watches", "hanging"))
    for name, about, value in (
        ("start_time_seconds", "When the daemon started, since the epoch.", started),
        ("ready", "1 once every root has been scanned and everything due is committed.", is_ready),
        ("backlog_workspaces", "Workspaces waiting for their settle time or their turn.", state.pending),
        ("backlog_oldest_seconds", "Wait of the oldest workspace in the backlog.", state.oldest_pending_seconds),
        ("unreadable_directories", "Directories that could not be read.", state.unreadable),
        ("watches", "Kernel watches that the daemon holds.", watches),
        ("hanging_mounts", "Roots, and mounts below them, that do not answer.", hanging),
        ("watches_limit", "Kernel watches that one user may hold; absent where it cannot be read.", limit),
        ("history_usable", "1 while rows can be written.", is_usable),
        ("history_schema_version", "The schema of the history.", history_file.VERSION),
        ("history_bytes", "The size of the history and its log on disk.", history.bytes),
        (
            "history_oldest_timestamp_seconds",
            "When the oldest dispatch of the history was last updated; absent where there is none.",
            history.oldest,
        ),
        ("last_commit_timestamp_seconds", "When a workspace was last committed; 0 is not yet.", counted.last_commit),
        ("last_scan_timestamp_seconds", "When the last complete scan of a root ended.", counted.last_scan),
        ("last_scan_duration_seconds", "Duration of that scan.", counted.last_scan_seconds),
    ):
        gauge = GaugeMetricFamily(PREFIX + name, about)
        if value is not None:
            gauge.add_metric([], value)
        yield gauge
    states = GaugeMetricFamily(f"{PREFIX}workspaces", "Workspaces on disk, by state.", labels=["state"])
    for name, count in (history.workspaces or {}).items():
        states.add_metric([name], count)
    yield states
    yield from _push(snapshot.waiting)


def _push(backlogs: Mapping[str, Backlog]) -> Iterator[Metric]:
    pending = GaugeMetricFamily(f"{PREFIX}push_pending", "Commits that a target does not have yet.", labels=["target"])
    oldest = GaugeMetricFamily(f"{PREFIX}push_oldest_seconds", "Age of the oldest of them.", labels=["target"])
    for target, backlog in backlogs.items():
        pending.add_metric([target], backlog.pending)
        oldest.add_metric([target], backlog.oldest_seconds)
    yield pending
    yield oldest


def _counters(state: DaemonState) -> Iterator[Metric]:
    counted = state.counted
    for name, about, label, values in (
        ("commits", "Dispatches committed since the start, by status.", "status", counted.commits),
        ("commit_failures", "Failed attempts since the start, by class of cause.", "cause", counted.failures),
    ):
        by_label = CounterMetricFamily(PREFIX + name, about, labels=[label])
        for value, count in sorted(values.items()):
            by_label.add_metric([value], count)
        yield by_label
    for name, about, count in (
        ("event_overflows", "How often the kernel dropped events; a scan follows each.", state.overflows),
        ("ended_runs", "Ghosts recorded as failed since the start.", counted.ended_runs),
        ("history_errors", "Commits whose row had to wait, since the start.", counted.history_errors),
    ):
        counter = CounterMetricFamily(PREFIX + name, about)
        counter.add_metric([], count)
        yield counter


def _used(counted: Counters) -> Iterator[Metric]:
    """Tokens and cost; every kind is exported from the start, so that its first increase shows in a rate."""
    about = "Tokens used by committed dispatches since the start, as reported by the agents' programs, by kind."
    tokens = CounterMetricFamily(f"{PREFIX}usage_tokens", about, labels=["kind"])
    for name in TOKEN_COLUMNS:
        tokens.add_metric([name.removesuffix("_tokens")], counted.used.get(name, 0))
    yield tokens
    about = "Cost of committed dispatches since the start, as reported by the agents' programs."
    cost = CounterMetricFamily(f"{PREFIX}cost_dollars", about)
    cost.add_metric([], counted.used.get(COST_COLUMN, 0) / 1e6)
    yield cost


def _latency(counted: Counters) -> Metric:
    about = "From the change of the status file to the end of its commit, the settle time included."
    family = HistogramMetricFamily(f"{PREFIX}commit_latency_seconds", about)
    buckets = [(str(bound), float(count)) for bound, count in zip(LATENCY_BOUNDS, counted.latency, strict=True)]
    family.add_metric([], [*buckets, ("+Inf", float(counted.latency_count))], counted.latency_sum)
    return family


class ScrapeHandler(WSGIRequestHandler):
    """Serves one connection and closes it when it stays silent. Does not log requests."""

    timeout = _SILENT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class names it so
        """Log nothing."""


class ScrapeServer(ThreadingMixIn, WSGIServer):
    """One thread per connection; connections over the limit are closed."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self._free = threading.BoundedSemaphore(_AT_ONCE)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve in a thread, unless there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket.socket, client_address: Any) -> None:  # type: ignore[override]
        """Serve, then release the slot."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """Ignore clients that disconnected or stayed silent."""
