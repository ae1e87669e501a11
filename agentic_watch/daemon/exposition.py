"""The daemon's state as Prometheus metrics. prometheus_client (extra `metrics`) makes the text; imported late.

Names follow the conventions of prometheus.io: base units, `_total` for what only grows, `_info`, no host label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agentic_watch.daemon.state_file import LATENCY_BOUNDS, Counters, DaemonState
from agentic_watch.fleet.backlog import Backlog
from agentic_watch.history import history_file
from agentic_watch.history.columns import COST_COLUMN, TOKEN_COLUMNS
from agentic_watch.workspace import instant

PREFIX = "agentic_watch_"
_WATCH_LIMIT = "/proc/sys/fs/inotify/max_user_watches"


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


def scraped(snapshots: Snapshots) -> Callable[..., Any]:
    """Answers a scrape with the newest snapshot (WSGI)."""
    app: Callable[..., Any] = make_wsgi_app(snapshots.registry)
    return app


def _gauges(snapshot: Snapshot) -> Iterator[Metric]:
    state, history, counted = snapshot.state, snapshot.history, snapshot.state.counted
    info = InfoMetricFamily(f"{PREFIX}build", "The program that runs.")
    info.add_metric([], {"version": state.version})
    yield info
    started = instant.parse(state.started_at).ns / 1e9
    is_ready, is_usable = float(state.phase == "running"), float(not state.history_error)
    watches, hanging = (sum(getattr(root, name) for root in state.roots) for name in ("watches", "hanging"))
    for name, about, value in (
        ("start_time_seconds", "When the daemon started, since the epoch.", started),
        ("ready", "1 once every root was looked at and what was due is committed.", is_ready),
        ("backlog_workspaces", "Workspaces that wait for their quiet time or their turn.", state.pending),
        ("backlog_oldest_seconds", "How long the first of the backlog has waited.", state.oldest_pending_seconds),
        ("unreadable_directories", "Directories that could not be looked into.", state.unreadable),
        ("watches", "Kernel watches that the daemon holds.", watches),
        ("hanging_mounts", "Roots, and mounts below them, that do not answer.", hanging),
        ("watches_limit", "Kernel watches that one user may hold; absent where it cannot be read.", watch_limit()),
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


def watch_limit() -> int | None:
    """fs.inotify.max_user_watches (inotify(7)); None where it is hidden."""
    try:
        with open(_WATCH_LIMIT, encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
