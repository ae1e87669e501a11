"""The daemon's state as Prometheus metrics. prometheus_client (extra `metrics`) makes the text and serves it.

Names follow the conventions of prometheus.io: base units, `_total` for what only grows, `_info`, no host label.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agentic_watch.daemon.state_file import LATENCY_BOUNDS, Counters
from agentic_watch.fleet.backlog import Backlog
from agentic_watch.history.columns import COST_COLUMN, TOKEN_COLUMNS

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

PREFIX = "agentic_watch_"
_WATCH_LIMIT = "/proc/sys/fs/inotify/max_user_watches"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is told at one moment. `workspaces` counts them by state, None where it is not known; `oldest_seconds`
    is how long the first of the backlog has waited, `started` and `oldest_dispatch` are in seconds since the epoch."""

    version: str
    counted: Counters
    started: float = 0.0
    ready: bool = False
    backlog: int = 0
    oldest_seconds: float = 0.0
    workspaces: Mapping[str, int] | None = None
    unreadable: int = 0
    overflows: int = 0
    watches: int = 0
    hanging: int = 0
    history_usable: bool | None = None
    schema: int | None = None
    history_bytes: int | None = None
    oldest_dispatch: float | None = None
    backlogs: Mapping[str, Backlog] = field(default_factory=dict)


class Snapshots:
    """A collector (prometheus_client's protocol) of the newest snapshot; a scrape in another thread reads one whole."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.newest = snapshot

    def collect(self) -> Iterator[Metric]:
        """Every metric, each with HELP and TYPE also when it has no value yet."""
        snapshot = self.newest
        yield from _gauges(snapshot)
        yield from _counters(snapshot)
        yield from _used(snapshot.counted)
        yield _latency(snapshot.counted)


def text(snapshot: Snapshot) -> bytes:
    """The metrics in the text format. Raises ModuleNotFoundError without the extra."""
    from prometheus_client import generate_latest

    return generate_latest(registry(Snapshots(snapshot)))


def registry(snapshots: Snapshots) -> CollectorRegistry:
    """A registry that holds nothing but ours."""
    from prometheus_client import CollectorRegistry

    made = CollectorRegistry()
    made.register(snapshots)
    return made


def serve(snapshots: Snapshots, listen: str) -> tuple[WSGIServer, Thread]:
    """Answer scrapes at an address such as `127.0.0.1:9477`, in a thread. Raises OSError when it cannot be had."""
    import socket
    from threading import Thread
    from wsgiref.simple_server import make_server

    from prometheus_client import make_wsgi_app

    from agentic_watch.daemon.scrape_server import ScrapeHandler, ScrapeServer

    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    family, *_ = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    kind: type[ScrapeServer] = type("Server", (ScrapeServer,), {"address_family": family})
    server = make_server(host, int(port), make_wsgi_app(registry(snapshots)), kind, ScrapeHandler)
    thread = Thread(target=server.serve_forever, name="scrapes", daemon=True)
    thread.start()
    return server, thread


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


def _gauges(snapshot: Snapshot) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily

    counted = snapshot.counted
    info = InfoMetricFamily(f"{PREFIX}build", "The program that runs.")
    info.add_metric([], {"version": snapshot.version})
    yield info
    usable = None if snapshot.history_usable is None else float(snapshot.history_usable)
    for name, about, value in (
        ("start_time_seconds", "When the daemon started, since the epoch.", snapshot.started),
        ("ready", "1 once every root was looked at and what was due is committed.", float(snapshot.ready)),
        ("backlog_workspaces", "Workspaces that wait for their quiet time or their turn.", snapshot.backlog),
        ("backlog_oldest_seconds", "How long the first of the backlog has waited.", snapshot.oldest_seconds),
        ("unreadable_directories", "Directories that could not be looked into.", snapshot.unreadable),
        ("watches", "Kernel watches that the daemon holds.", snapshot.watches),
        ("hanging_mounts", "Roots, and mounts below them, that do not answer.", snapshot.hanging),
        ("watches_limit", "Kernel watches that one user may hold; absent where it cannot be read.", watch_limit()),
        ("history_usable", "1 while rows can be written.", usable),
        ("history_schema_version", "The schema of the history.", snapshot.schema),
        ("history_bytes", "The size of the history and its log on disk.", snapshot.history_bytes),
        (
            "history_oldest_timestamp_seconds",
            "When the oldest dispatch of the history was last updated; absent where there is none.",
            snapshot.oldest_dispatch,
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
    for state, count in (snapshot.workspaces or {}).items():
        states.add_metric([state], count)
    yield states
    yield from _push(snapshot.backlogs)


def _push(backlogs: Mapping[str, Backlog]) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    pending = GaugeMetricFamily(f"{PREFIX}push_pending", "Commits that a target has not got yet.", labels=["target"])
    oldest = GaugeMetricFamily(f"{PREFIX}push_oldest_seconds", "The age of the oldest of them.", labels=["target"])
    for target, backlog in backlogs.items():
        pending.add_metric([target], backlog.pending)
        oldest.add_metric([target], backlog.oldest_seconds)
    yield pending
    yield oldest


def _counters(snapshot: Snapshot) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    counted = snapshot.counted
    for name, about, label, values in (
        ("commits", "Dispatches committed since the start, by status.", "status", counted.commits),
        ("commit_failures", "Attempts that failed since the start, by class of cause.", "cause", counted.failures),
    ):
        by_label = CounterMetricFamily(PREFIX + name, about, labels=[label])
        for value, count in sorted(values.items()):
            by_label.add_metric([value], count)
        yield by_label
    for name, about, count in (
        ("event_overflows", "How often the kernel dropped events; a scan follows each.", snapshot.overflows),
        ("ended_runs", "Runs that nobody ended, recorded as failed since the start.", counted.ended_runs),
        ("history_errors", "Commits whose row had to wait, since the start.", counted.history_errors),
    ):
        counter = CounterMetricFamily(PREFIX + name, about)
        counter.add_metric([], count)
        yield counter


def _used(counted: Counters) -> Iterator[Metric]:
    """What was used; every kind from the start on, so that its first step shows in a rate."""
    from prometheus_client.core import CounterMetricFamily

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
    from prometheus_client.core import HistogramMetricFamily

    about = "From the change of the status file to the end of its commit, the settle time included."
    family = HistogramMetricFamily(f"{PREFIX}commit_latency_seconds", about)
    buckets = [(str(bound), float(count)) for bound, count in zip(LATENCY_BOUNDS, counted.latency, strict=True)]
    family.add_metric([], [*buckets, ("+Inf", float(counted.latency_count))], counted.latency_sum)
    return family


def watch_limit() -> int | None:
    """fs.inotify.max_user_watches (inotify(7)); None where it is hidden."""
    try:
        with open(_WATCH_LIMIT, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
