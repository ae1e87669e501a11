"""The daemon's state as Prometheus metrics, and where they go: a file for node_exporter, an address to be scraped at.

Imported late, with the extra `metrics`, whose prometheus_client makes the text.

Names follow the conventions of prometheus.io: base units, `_total` for what only grows, `_info`, no host label.
The address has a few threads at most, and none for a connection that says nothing.
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
    """How large the history is, None where that is not known: `workspaces` on disk by state, `bytes` of it and its log,
    when its `oldest` dispatch was last updated (seconds since the epoch)."""

    workspaces: Mapping[str, int] | None = None
    bytes: int | None = None
    oldest: float | None = None


class Snapshot(NamedTuple):
    """All that is told at one moment; `waiting` is what the push targets lack."""

    state: DaemonState
    history: Extent = Extent()
    waiting: Mapping[str, Backlog] = MappingProxyType({})


class Snapshots(Collector):
    """The newest snapshot as metrics; a scrape in another thread reads one whole."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.newest = snapshot
        self.registry = CollectorRegistry()  # which holds nothing but ours
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Every metric, each with HELP and TYPE also when it has no value yet."""
        snapshot = self.newest
        yield from _gauges(snapshot)
        yield from _counters(snapshot.state)
        yield from _used(snapshot.state.counted)
        yield _latency(snapshot.state.counted)


def text(snapshot: Snapshot) -> bytes:
    """The metrics in the text format."""
    return generate_latest(Snapshots(snapshot).registry)


class Metrics:
    """Tells how a daemon is while it runs, at the places that the configuration names. One thread."""

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
        """Answer scrapes at an address such as `127.0.0.1:9477`, in a thread. Raises OSError when it cannot be had."""
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
        told = self._snapshots.newest = Snapshot(self._health.snapshot(), self._extent, self._backlogs)
        if self._file is not None:
            self._write(self._file, text(told))

    def _write(self, path: str, told: bytes) -> None:
        """Replace the file, readable for all; nobody reads it under its temporary name."""
        try:
            with new_file(path, 0o644, replace=True, is_durable=False) as file:
                os.fchmod(file.fileno(), 0o644)
                file.write(told)
        except OSError as error:
            if not self._complained:
                log.warning("%s: cannot be written: %s; the metrics there are old", path, error.strerror)
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


def _gauges(snapshot: Snapshot) -> Iterator[Metric]:
    state, history, counted = snapshot.state, snapshot.history, snapshot.state.counted
    info = InfoMetricFamily(f"{PREFIX}build", "The program that runs.")
    info.add_metric([], {"version": state.version})
    yield info
    started = instant.parse(state.started_at).ns / 1e9
    is_ready, is_usable = float(state.phase == "running"), float(not state.history_error)
    limit = inotify_limit("max_user_watches")
    watches, hanging = (sum(getattr(root, name) for root in state.roots) for name in ("watches", "hanging"))
    for name, about, value in (
        ("start_time_seconds", "When the daemon started, since the epoch.", started),
        ("ready", "1 once every root was looked at and what was due is committed.", is_ready),
        ("backlog_workspaces", "Workspaces that wait for their quiet time or their turn.", state.pending),
        ("backlog_oldest_seconds", "How long the first of the backlog has waited.", state.oldest_pending_seconds),
        ("unreadable_directories", "Directories that could not be looked into.", state.unreadable),
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
        ("last_scan_timestamp_seconds", "When a root was last looked at from end to end.", counted.last_scan),
        ("last_scan_duration_seconds", "How long that took.", counted.last_scan_seconds),
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
    pending = GaugeMetricFamily(f"{PREFIX}push_pending", "Commits that a target has not got yet.", labels=["target"])
    oldest = GaugeMetricFamily(f"{PREFIX}push_oldest_seconds", "The age of the oldest of them.", labels=["target"])
    for target, backlog in backlogs.items():
        pending.add_metric([target], backlog.pending)
        oldest.add_metric([target], backlog.oldest_seconds)
    yield pending
    yield oldest


def _counters(state: DaemonState) -> Iterator[Metric]:
    counted = state.counted
    for name, about, label, values in (
        ("commits", "Dispatches committed since the start, by status.", "status", counted.commits),
        ("commit_failures", "Attempts that failed since the start, by class of cause.", "cause", counted.failures),
    ):
        by_label = CounterMetricFamily(PREFIX + name, about, labels=[label])
        for value, count in sorted(values.items()):
            by_label.add_metric([value], count)
        yield by_label
    for name, about, count in (
        ("event_overflows", "How often the kernel dropped events; a scan follows each.", state.overflows),
        ("ended_runs", "Runs that nobody ended, recorded as failed since the start.", counted.ended_runs),
        ("history_errors", "Commits whose row had to wait, since the start.", counted.history_errors),
    ):
        counter = CounterMetricFamily(PREFIX + name, about)
        counter.add_metric([], count)
        yield counter


def _used(counted: Counters) -> Iterator[Metric]:
    """What was used; every kind from the start on, so that its first step shows in a rate."""
    about = "Tokens that the agents of committed dispatches used since the start, as their programs said, by kind."
    tokens = CounterMetricFamily(f"{PREFIX}usage_tokens", about, labels=["kind"])
    for name in TOKEN_COLUMNS:
        tokens.add_metric([name.removesuffix("_tokens")], counted.used.get(name, 0))
    yield tokens
    about = "What committed dispatches cost since the start, as their agents' programs said."
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
