"""Log lines on stderr: one line each, with control characters from agents escaped.

stderr may be a pipe that is not read: the daemon's lines wait in a bounded queue, and the daemon never blocks. Lines
that do not fit are counted, and the count is logged when there is space again.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import select
import socket
import stat
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from agentic_watch.cli.output import clean, stderr_is_journal
from agentic_watch.config import Config
from agentic_watch.workspace.instant import now_text

_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_FIELDS = ("root", "workspace", "status", "run", "error", "committed_at")
"""Fields of a line besides its text (docs/reference.md)."""
_LONGEST_VALUE = 16 * 1024


class _Text(logging.Formatter):
    """`2026-04-14T11:17:08Z INFO message`, for people."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        return f"{stamp} {record.levelname} {_message(self, record)}"


class _Journal(logging.Formatter):
    """`<6>message`: the journal adds the time and reads the priority from the prefix (sd-daemon(3))."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{_message(self, record)}"


class JournalFields(logging.Formatter):
    """An entry in the journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL), with fields for `journalctl
    WORKSPACE=…`.

    No value contains a newline. An entry must fit into one datagram (net.core.wmem_default), so long values are cut.
    """

    def format(self, record: logging.LogRecord) -> str:
        values = {"MESSAGE": _message(self, record), "PRIORITY": _PRIORITIES.get(record.levelno, 6)}
        values |= {"SYSLOG_IDENTIFIER": "agentic-watch"}
        values |= {name.upper(): value for name, value in _fields(record).items()}
        return "\n".join(f"{name}={str(value)[:_LONGEST_VALUE]}" for name, value in values.items())


class _Json(logging.Formatter):
    """One JSON object per line: time (UTC, milliseconds), level, message, and known fields.

    `prefixed` adds the priority as a prefix, which the journal removes and stores (sd-daemon(3)).
    """

    def __init__(self, *, prefixed: bool) -> None:
        super().__init__()
        self._prefixed = prefixed

    def format(self, record: logging.LogRecord) -> str:
        when = f"{now_text(record.created).removesuffix('Z')}.{int(record.msecs):03}Z"
        document = {"time": when, "level": record.levelname.lower()}
        document["message"] = _message(self, record)
        prefix = f"<{_PRIORITIES.get(record.levelno, 6)}>" if self._prefixed else ""
        return prefix + json.dumps(document | _fields(record), ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """The known fields of a record."""
    known = {name: getattr(record, name, None) for name in _FIELDS}
    return {
        name: clean(value) if isinstance(value, str) else value for name, value in known.items() if value is not None
    }


def _message(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    message = clean(record.getMessage())
    if record.exc_info:
        message += f" | {clean(formatter.formatException(record.exc_info))}"
    return message


def set_up(config: Config, verbosity: int, *, quieter: bool = False, never_block: bool = False) -> None:
    """Send the package's log to stderr in the configured format; `quieter` starts at warnings, for one-shot commands;
    `never_block` drops lines instead of waiting for a reader."""
    handler = _never_blocking(config.log.format) if never_block else logging.StreamHandler(sys.stderr)
    if handler.formatter is None:
        handler.setFormatter(machine_formatter(config.log.format) or _Text())
    logging.captureWarnings(capture=True)
    logging.basicConfig(handlers=[handler], force=True)
    set_level(config, verbosity, quieter=quieter)
    # Do not collect what no formatter here shows (logging HOWTO, "Optimization").
    logging._srcfile = None  # noqa: SLF001  which frame it was
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    # watchdog logs each overflow itself; our messages name the root and the consequence.
    logging.getLogger("watchdog").setLevel(logging.CRITICAL)


def set_level(config: Config, verbosity: int, *, quieter: bool = False) -> None:
    """Set the level from configuration and flags; `quieter` as in `set_up`."""
    level = _LEVELS[config.log.level]
    if quieter:
        level = max(level, logging.WARNING)
    logging.getLogger().setLevel(max(logging.DEBUG, min(logging.ERROR, level - 10 * verbosity)))


def _never_blocking(form: str) -> logging.Handler:
    """The handler of a daemon: if stderr is the journal, write to the journal directly, so that fields are kept."""
    journal = connect() if form == "auto" and stderr_is_journal() else None
    handler = NeverBlocking(journal)
    if journal is not None:
        handler.setFormatter(JournalFields())
    return handler


def machine_formatter(form: str) -> logging.Formatter | None:
    """The formatter of a machine-readable format (JSON lines, the journal), None for text."""
    if form == "json":
        return _Json(prefixed=stderr_is_journal())
    return _Journal() if form == "auto" and stderr_is_journal() else None


_JOURNAL = "/run/systemd/journal/socket"
_STDERR = 2
_LINES_AT_MOST = 2_000
_BYTES_AT_MOST = 512 * 1024
_PIECE = 4096
"""PIPE_BUF: a write of this size to a pipe is atomic (pipe(7))."""
_LAST_SECONDS = 0.5

Write = Callable[[bytes], int]


def connect(path: str = _JOURNAL) -> socket.socket | None:
    """A non-blocking socket to the journal, one entry per datagram; None where there is none, as without systemd."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection


class NeverBlocking(logging.Handler):
    """Writes what stderr accepts without blocking; `flush` continues with the rest. `dropped` counts lost lines.

    `journal` replaces stderr, with one datagram per line. It is closed with the handler.
    """

    def __init__(self, journal: socket.socket | None = None) -> None:
        super().__init__()
        self.dropped = 0
        self._journal = journal
        self._untold = 0
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._stream: socket.socket | None = None
        self._reopened = -1
        self._write = self._choose()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line, or count it as dropped."""
        if len(self._waiting) >= _LINES_AT_MOST or self._bytes > _BYTES_AT_MOST:
            self._advance()
        if len(self._waiting) >= _LINES_AT_MOST or self._bytes > _BYTES_AT_MOST:
            self.dropped += 1
            self._untold += 1
            return
        self._put(record)
        self._advance()

    def flush(self) -> None:
        """Write what can be written now."""
        with self.lock or contextlib.nullcontext():
            self._advance()
            if self._untold and not self._waiting:
                text = f"%d {'log line was' if self._untold == 1 else 'log lines were'} dropped: nobody read stderr"
                record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, (self._untold,), None)
                self._untold = 0
                self._put(record)
                self._advance()

    def close(self) -> None:
        """Write the last lines, waiting half a second for a reader at most."""
        end = time.monotonic() + _LAST_SECONDS
        self.flush()
        while self._waiting and time.monotonic() < end:
            time.sleep(0.01)
            self.flush()
        if self._stream is not None:
            self._stream.close()
        if self._reopened >= 0:
            os.close(self._reopened)
        self._stream, self._reopened, self._write = None, -1, lambda data: len(data)
        super().close()

    def _put(self, record: logging.LogRecord) -> None:
        line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        self._waiting.append(line)
        self._bytes += len(line)

    def _advance(self) -> None:
        """Write lines until one is not accepted; the rest of a partly written line stays first."""
        while self._waiting:
            line = self._waiting[0]
            try:
                count = self._write(line if self._journal is not None else line[:_PIECE])
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    return
                self.dropped += 1  # the reader is gone for good
                count = len(line)
            self._bytes -= count
            if count < len(line):
                self._waiting[0] = line[count:]
            else:
                self._waiting.popleft()

    def _choose(self) -> Write:
        """How to write without blocking. O_NONBLOCK is never set on stderr itself, which other processes may share."""
        if self._journal is not None:
            self._stream = journal = self._journal
            return journal.send
        mode = os.fstat(_STDERR).st_mode
        if stat.S_ISSOCK(mode):
            self._stream = stream = socket.socket(fileno=os.dup(_STDERR))
            return lambda data: stream.send(data, socket.MSG_DONTWAIT)
        if stat.S_ISFIFO(mode) or os.isatty(_STDERR):
            try:
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
                self._reopened = reopened = os.open(f"/proc/self/fd/{_STDERR}", flags)
            except OSError:  # not ours: poll first
                return _write_if_there_is_room
            return lambda data: os.write(reopened, data)
        return lambda data: os.write(_STDERR, data)


def _write_if_there_is_room(data: bytes) -> int:
    poll = select.poll()
    poll.register(_STDERR, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(_STDERR, data)
