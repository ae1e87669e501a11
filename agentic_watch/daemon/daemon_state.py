"""The daemon's published state: a file that the daemon rewrites in place and other commands read.

Its counters since the start are plain numbers, used in that file and in metrics.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import struct
import time
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any

from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.config import KNOWN_STATUSES
from agentic_watch.daemon.daemon_presence import FLAGS, file_of, is_claimed_beside, is_held
from agentic_watch.history import columns
from agentic_watch.host.processes import is_stopped
from agentic_watch.watch import RootState

LATENCY_BOUNDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the commit latency's buckets, in seconds; longer commits count only in the sum and the total."""

MOST_OF_ONE = 10**12
"""Maximum that one run adds to a token counter or to the cost (millionths of a dollar): agents write these numbers."""

_MTIME = struct.Struct("<8xq")
"""Position of the mtime in nanoseconds in a signature (workspace/signatures.py)."""
_SIGNATURE_BYTES = 32


@dataclass(slots=True)
class Counters:
    """Counters since the start; times are seconds since the epoch (0: never).

    `commits` is by status (statuses known only to this configuration count as "other"), `failures` by ErrorKind; an
    agent cannot choose a key of either. `ended_runs` counts runs recorded as ghosts. `latency` holds how many commits
    took at most each of LATENCY_BOUNDS seconds from the change of the status file to the end of the commit. `used`
    holds tokens by column, and the cost (columns.USED_COLUMNS), as reported by the agents' programs.
    """

    commits: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    latency: list[int] = field(default_factory=lambda: [0] * len(LATENCY_BOUNDS))
    latency_count: int = 0
    latency_sum: float = 0.0
    history_errors: int = 0
    ended_runs: int = 0
    used: dict[str, int] = field(default_factory=lambda: dict.fromkeys(columns.USED_COLUMNS, 0))
    last_commit: float = 0.0
    last_scan: float = 0.0
    last_scan_seconds: float = 0.0

    def outcome(self, outcome: Outcome, now: float) -> None:
        """Count the outcome of a commit; `now` is in seconds since the epoch."""
        if outcome.history_error:
            self.history_errors += 1
        if outcome.verdict is Verdict.FAILED:
            self.failures[outcome.kind] = self.failures.get(outcome.kind, 0) + 1
        elif outcome.verdict is Verdict.COMMITTED and outcome.status is not None:
            name = outcome.status.status if outcome.status.status in KNOWN_STATUSES else "other"
            self.commits[name] = self.commits.get(name, 0) + 1
            self.ended_runs += outcome.ended
            self.last_commit = now
            if (changed := _changed_at(outcome.signature)) is not None:
                self._took(max(0.0, now - changed))

    def add_used(self, added: Mapping[str, int]) -> None:
        """Add a commit's tokens and cost."""
        for name, count in added.items():
            self.used[name] += count

    def copy(self) -> Counters:
        """An independent copy of the current numbers."""
        return replace(
            self,
            commits=dict(self.commits),
            failures=dict(self.failures),
            used=dict(self.used),
            latency=list(self.latency),
        )

    def _took(self, seconds: float) -> None:
        self.latency_count += 1
        self.latency_sum += seconds
        for number, bound in enumerate(LATENCY_BOUNDS):
            self.latency[number] += seconds <= bound

    def scanned(self, seconds: float, now: float) -> None:
        """A complete scan of a root took `seconds`."""
        self.last_scan, self.last_scan_seconds = now, seconds


def _changed_at(signature: bytes) -> float | None:
    """When the status file changed, in seconds since the epoch: the newer mtime of the two possible files."""
    if len(signature) < 2 * _SIGNATURE_BYTES:
        return None
    newest: int = max(_MTIME.unpack_from(signature, start)[0] for start in (0, _SIGNATURE_BYTES))
    return newest / 1e9


def from_document(document: Mapping[str, Any]) -> Counters:
    """Decode counters; missing ones are zero, unknown ones are ignored."""
    known = {name: document[name] for name in Counters.__dataclass_fields__ if name in document}
    return Counters(**known)


_LIMIT = 4 * 1024 * 1024
_TRIES = 50
_PAUSE_SECONDS = 0.002
_CHECK = "crc32"


@dataclass(slots=True)
class DaemonState:
    """The state that a daemon publishes. Times are UTC in whole seconds; `phase` is starting, running or stopping.

    `pending` counts workspaces that wait for their settle time or their turn, `failing` those that failed and will be
    retried, `committed` the commits and `overflows` the overflows of the event queue since the start. `beat` is the
    time of publication by the host's monotonic clock (clock_gettime(2), CLOCK_MONOTONIC), in seconds; 0.0 when unknown.
    `log_dropped` counts log lines that could not be written, `oldest_pending_seconds` is how long the oldest pending
    workspace has waited. `unreadable` counts directories below the roots that could not be read (at most a thousand per
    root); `unreadable_names` are the first of them.
    """

    pid: int
    version: str
    started_at: str
    updated_at: str
    phase: str
    roots: tuple[RootState, ...]
    pending: int
    failing: int
    committed: int
    history_error: str = ""
    last_scan_at: str = ""
    overflows: int = 0
    beat: float = 0.0
    log_dropped: int = 0
    oldest_pending_seconds: float = 0.0
    unreadable: int = 0
    unreadable_names: tuple[str, ...] = ()
    counted: Counters = field(default_factory=Counters)


def encode(state: DaemonState) -> bytes:
    """One line of JSON with a checksum."""
    document = _fields_of(state)
    document |= {"roots": [_fields_of(root) for root in state.roots], "counted": _fields_of(state.counted)}
    text = _dump(document)
    return _dump({_CHECK: f"{zlib.crc32(text):08x}"})[:-1] + b"," + text[1:] + b"\n"


def write(descriptor: int, data: bytes) -> None:
    """Overwrite, then truncate: on a full disk, allocated blocks can still be rewritten."""
    written = os.pwrite(descriptor, data, 0)
    if written != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(descriptor, len(data))


def read(descriptor: int) -> DaemonState | None:
    """Read the state, again while it is torn: read(2) is not atomic with respect to write(2)."""
    for attempt in range(_TRIES):
        data = os.pread(descriptor, _LIMIT, 0)
        if not data:
            return None
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            return _decode(data)
        if attempt:
            time.sleep(_PAUSE_SECONDS)
    return None


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _fields_of(data: DaemonState | RootState | Counters) -> dict[str, Any]:
    return {one.name: getattr(data, one.name) for one in fields(data)}


def _decode(data: bytes) -> DaemonState:
    line, newline, _ = data.partition(b"\n")
    document = json.loads(line)
    if not newline or document.pop(_CHECK) != f"{zlib.crc32(_dump(document)):08x}":
        raise ValueError("torn")
    roots = tuple(RootState(**_known(RootState, root)) for root in document.pop("roots"))
    counted = from_document(document.pop("counted", {}))
    names = tuple(document.pop("unreadable_names", ()))
    return DaemonState(roots=roots, counted=counted, unreadable_names=names, **_known(DaemonState, document))


def _known(kind: type[RootState] | type[DaemonState], document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that this version knows: a newer daemon may publish more."""
    required = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING} - {"roots"}
    if missing := required - document.keys():
        raise KeyError(*missing)
    return {f.name: document[f.name] for f in fields(kind) if f.name in document}


_STALE_SECONDS = 30.0
"""Three times the longest interval at which a working daemon publishes."""
_STOPPED_SECONDS = 3.0
"""Limit for a process that the kernel reports as stopped. Not zero, because the pid may belong to another process."""


class Liveness(StrEnum):
    """Whether a daemon works for a history.

    `stale`: its process exists, but has published nothing for 30 s: it is stopped or hung. `unknown`: this user lacks
    permission.
    """

    RUNNING = "running"
    STALE = "stale"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


def look(history: str) -> tuple[bool, DaemonState | None]:
    """Whether a daemon runs for this history, and the state it last published, if any.

    Needs only read permission and never creates the file. Raises OSError when the file exists but cannot be read.
    """
    path = file_of(history)
    try:
        descriptor = os.open(path, os.O_RDONLY | FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return is_claimed_beside(path), None
    try:
        return is_held(descriptor, path), read(descriptor)
    finally:
        os.close(descriptor)


def pulse(history: str) -> tuple[Liveness, DaemonState | None]:
    """Liveness of the daemon of a history, and the state it last published, if any. Never raises."""
    try:
        running, state = look(history)
    except OSError:
        return Liveness.UNKNOWN, None
    if not running:
        return Liveness.STOPPED, state
    return (Liveness.STALE if state is not None and _is_stale(state) else Liveness.RUNNING), state


def _is_stale(state: DaemonState) -> bool:
    silent = time.monotonic() - state.beat if state.beat else 0.0
    return silent > _STALE_SECONDS or (silent > _STOPPED_SECONDS and is_stopped(state.pid))
