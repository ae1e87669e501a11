"""One daemon per history: a locked file beside it that says how the daemon is.

The lock is flock(2): the kernel drops it when its holder dies, however it dies, so a file that is left
behind holds up nobody and tells when a daemon was last seen.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import time
import zlib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from agentic_watch.watch.root_state import RootState

log = logging.getLogger(__name__)

_SUFFIX = ".daemon"
_PATIENCE_SECONDS = 1.0
_PAUSE_SECONDS = 0.02
_LIMIT = 4 * 1024 * 1024
_READ_TRIES = 50
_CHECK = "crc32"
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


@dataclass(frozen=True, slots=True)
class DaemonState:
    """What a daemon says of itself. Times are UTC in whole seconds, `phase` is starting, running or stopping.

    `pending` counts workspaces that wait for their quiet time or their turn, `failing` those that failed and
    are tried again, `committed` those committed and `overflows` the event queue's overflows since the start.
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


class Held(Exception):
    """Another daemon holds the history; the message names the file and, where known, the holder's pid."""


class Instance:
    """The lock of a running daemon, and its state for others to read. Used from one thread."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor
        self._complained = False

    @classmethod
    def acquire(cls, history: str) -> Instance:
        """Take the lock, for about a second: `look` holds it shared for an instant. Makes the directory.

        Raises Held, and OSError when the file cannot be made.
        """
        path = file_of(history)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o644)
        try:
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while not _lock(descriptor, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise _held(path, descriptor)
                time.sleep(_PAUSE_SECONDS)
            # What a former daemon said must not be taken for this one's words.
            os.ftruncate(descriptor, 0)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    def publish(self, state: DaemonState) -> None:
        """Replace the state. A state that cannot be written (a full disk) is said once and ends nothing."""
        if self._descriptor is None:
            return
        try:
            _write(self._descriptor, _encode(state))
        except OSError as error:
            if not self._complained:
                log.warning("%s: cannot be written: %s; status shows an old state", self._path, error.strerror)
            self._complained = True
        else:
            self._complained = False

    def release(self) -> None:
        """Give the lock back; the file stays and tells when the daemon was last seen. Safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def look(history: str) -> tuple[bool, DaemonState | None]:
    """Whether a daemon runs for this history, and the state it last published, if any.

    Needs only read permission and never makes the file. Raises OSError when the file is there but
    cannot be read.
    """
    try:
        descriptor = os.open(file_of(history), os.O_RDONLY | _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return False, None
    try:
        running = not _lock(descriptor, fcntl.LOCK_SH)
        if not running:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        return running, _read(descriptor)
    finally:
        os.close(descriptor)


def file_of(history: str) -> str:
    """The instance file of a history. Two names of one history are one: symlinks are resolved."""
    return os.path.realpath(history) + _SUFFIX


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _held(path: str, descriptor: int) -> Held:
    state = _read(descriptor)
    holder = f"pid {state.pid}" if state is not None else "pid not known"
    return Held(f"{path}: another daemon holds this history ({holder}); stop it, or use another one with --history")


def _encode(state: DaemonState) -> bytes:
    document = asdict(state)
    return _dump({_CHECK: _checksum(document)} | document) + b"\n"


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _checksum(document: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(_dump(document)):08x}"


def _write(descriptor: int, data: bytes) -> None:
    """Write over what is there, then cut: blocks that are there once can be rewritten on a full disk."""
    written = os.pwrite(descriptor, data, 0)
    if written != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.ftruncate(descriptor, len(data))


def _read(descriptor: int) -> DaemonState | None:
    """The state, read again while it is torn: read(2) is not atomic beside a write(2)."""
    for attempt in range(_READ_TRIES):
        data = os.pread(descriptor, _LIMIT, 0)
        if not data:
            return None
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            return _decode(data)
        if attempt:
            time.sleep(_PAUSE_SECONDS / 10)
    return None


def _decode(data: bytes) -> DaemonState:
    line, newline, _ = data.partition(b"\n")
    document = json.loads(line)
    if not newline or document.pop(_CHECK) != _checksum(document):
        raise ValueError("torn")
    roots = tuple(RootState(**_known(RootState, root)) for root in document.pop("roots"))
    return DaemonState(roots=roots, **_known(DaemonState, document))


def _known(kind: type[RootState] | type[DaemonState], document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that this program knows: a newer daemon may say more."""
    required = {f.name for f in fields(kind) if f.default is MISSING} - {"roots"}
    if missing := required - document.keys():
        raise KeyError(*missing)
    return {f.name: document[f.name] for f in fields(kind) if f.name in document}
