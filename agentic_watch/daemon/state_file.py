"""What a daemon says of itself, as bytes in a file that is rewritten in place and read by others meanwhile."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from agentic_watch.daemon.counted import Counted, from_document
from agentic_watch.watch.root_state import RootState

_LIMIT = 4 * 1024 * 1024
_TRIES = 50
_PAUSE_SECONDS = 0.002
_CHECK = "crc32"


@dataclass(frozen=True, slots=True)
class DaemonState:
    """What a daemon says of itself. Times are UTC in whole seconds, `phase` is starting, running or stopping.

    `pending` counts workspaces that wait for their quiet time or their turn, `failing` those that failed and
    are tried again, `committed` those committed and `overflows` the event queue's overflows since the start.
    `beat` is when this was said by the host's monotonic clock (clock_gettime(2), CLOCK_MONOTONIC), in seconds; 0.0
    when it was not said. `log_dropped` counts log lines that nobody took,
    `oldest_pending_seconds` is how long the first of those that are pending has waited. `unreadable` counts directories
    below the roots that could not be looked into (at most a thousand a root), `unreadable_names` are the first of them.
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
    counted: Counted = field(default_factory=Counted)


def encode(state: DaemonState) -> bytes:
    """One line of JSON with a checksum."""
    document = asdict(state)
    return _dump({_CHECK: _checksum(document)} | document) + b"\n"


def write(descriptor: int, data: bytes) -> None:
    """Write over what is there, then cut: blocks that are there once can be rewritten on a full disk."""
    written = os.pwrite(descriptor, data, 0)
    if written != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(descriptor, len(data))


def read(descriptor: int) -> DaemonState | None:
    """The state, read again while it is torn: read(2) is not atomic beside a write(2)."""
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


def _checksum(document: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(_dump(document)):08x}"


def _decode(data: bytes) -> DaemonState:
    line, newline, _ = data.partition(b"\n")
    document = json.loads(line)
    if not newline or document.pop(_CHECK) != _checksum(document):
        raise ValueError("torn")
    roots = tuple(RootState(**_known(RootState, root)) for root in document.pop("roots"))
    counted = from_document(document.pop("counted", {}))
    names = tuple(document.pop("unreadable_names", ()))
    return DaemonState(roots=roots, counted=counted, unreadable_names=names, **_known(DaemonState, document))


def _known(kind: type[RootState] | type[DaemonState], document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that this program knows: a newer daemon may say more."""
    required = {f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING} - {"roots"}
    if missing := required - document.keys():
        raise KeyError(*missing)
    return {f.name: document[f.name] for f in fields(kind) if f.name in document}
