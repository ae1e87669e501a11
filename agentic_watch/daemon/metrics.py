"""Where the metrics go: a file for node_exporter, an address to be scraped at, or neither."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from agentic_watch.config import Config
from agentic_watch.daemon import exposition
from agentic_watch.daemon.exposition import Snapshot, Snapshots
from agentic_watch.daemon.health import Health
from agentic_watch.daemon.state_file import Counters, DaemonState
from agentic_watch.fleet.backlog import Backlog, backlogs
from agentic_watch.history import pruned, schema, workspaces_table
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History
from agentic_watch.host.threads import left_to_main_thread
from agentic_watch.workspace import instant

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer

log = logging.getLogger("agentic_watch.daemon")

_TELL_SECONDS = 1.0
_COUNT_SECONDS = 10.0


class Metrics:
    """Tells the metrics while the daemon runs; does nothing when the configuration names no place. One thread."""

    def __init__(self, config: Config) -> None:
        self._file = config.metrics.textfile
        self._listen = config.metrics.listen
        self._config = config
        self._backlogs: Mapping[str, Backlog] = {}
        self._snapshots: Snapshots | None = None
        self._server: tuple[WSGIServer, Thread] | None = None
        self._extent = Extent()
        self._next_tell = self._next_count = 0.0
        self._complained = False

    def open(self) -> None:
        """Begin to listen. Raises ModuleNotFoundError without the extra, OSError when the address cannot be had."""
        if self._file is not None or self._listen is not None:
            exposition.text(Snapshot("", Counters()))  # the extra may be missing
        if self._listen is not None:
            self._snapshots = Snapshots(Snapshot("", Counters()))
            with left_to_main_thread():
                self._server = exposition.serve(self._snapshots, self._listen)

    def tell(self, health: Health, history: History) -> None:
        """Tell how the daemon is, at most once a second."""
        now = time.monotonic()
        if now < self._next_tell or (self._file is None and self._snapshots is None):
            return
        self._next_tell = now + _TELL_SECONDS
        if now >= self._next_count:
            self._next_count = now + _COUNT_SECONDS
            with contextlib.suppress(HistoryError):
                self._extent = extent(history)
            self._backlogs = backlogs(self._config.history, self._config.push)
        told = snapshot(health.state, self._extent, self._backlogs)
        if self._snapshots is not None:
            self._snapshots.newest = told
        if self._file is not None:
            self._write(self._file, told)

    def _write(self, file: str, told: Snapshot) -> None:
        try:
            exposition.write(file, told)
        except OSError as error:
            if not self._complained:
                log.warning("%s: cannot be written: %s; the metrics there are old", file, error.strerror)
            self._complained = True
        else:
            self._complained = False

    def close(self, *, clean: bool) -> None:
        """Stop listening; after a `clean` stop there is nothing left to be read."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
        if clean and self._file is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._file)


class Extent(NamedTuple):
    """How large the history is, None where that is not known: `workspaces` on disk by state, `bytes` of it and its log,
    when its `oldest` dispatch was last updated (seconds since the epoch)."""

    workspaces: Mapping[str, int] | None = None
    bytes: int | None = None
    oldest: float | None = None


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


def snapshot(state: DaemonState, history: Extent, waiting: Mapping[str, Backlog]) -> Snapshot:
    """What a daemon's state says, as metrics; `waiting` is what the push targets lack."""
    return Snapshot(
        version=state.version,
        counted=state.counted,
        started=instant.parse(state.started_at).ns / 1e9,
        ready=state.phase == "running",
        backlog=state.pending,
        oldest_seconds=state.oldest_pending_seconds,
        workspaces=history.workspaces,
        unreadable=state.unreadable,
        overflows=state.overflows,
        watches=sum(root.watches for root in state.roots),
        hanging=sum(root.hanging for root in state.roots),
        history_usable=not state.history_error,
        schema=schema.VERSION,
        history_bytes=history.bytes,
        oldest_dispatch=history.oldest,
        backlogs=waiting,
    )
