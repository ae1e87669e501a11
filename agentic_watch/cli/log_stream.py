"""Log lines on their way to stderr, which may be a pipe that nobody reads: they wait in a bounded queue, the daemon
never does. What finds no room is counted, and the count is said when there is room again."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import stat
import time
from collections import deque
from collections.abc import Callable

_JOURNAL = "/run/systemd/journal/socket"
_STDERR = 2
_LINES_AT_MOST = 2_000
_BYTES_AT_MOST = 512 * 1024
_PIECE = 4096
"""PIPE_BUF: what a pipe with room takes whole (pipe(7))."""
_LAST_SECONDS = 0.5

Write = Callable[[bytes], int]


def connect(path: str = _JOURNAL) -> socket.socket | None:
    """A socket to the journal that takes an entry a datagram and never waits; None where there is none, as outside of
    systemd."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection


class NeverBlocking(logging.Handler):
    """Writes what stderr takes at once; `flush` goes on with the rest. `dropped` counts lines that are lost.

    `journal` takes the place of stderr, a datagram a line. It is closed with the handler.
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
        """Take a line in, or count it as dropped."""
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
                text = "%d log lines were dropped: nobody read stderr"
                record = logging.LogRecord(__name__, logging.WARNING, "", 0, text, (self._untold,), None)
                self._untold = 0
                self._put(record)
                self._advance()

    def close(self) -> None:
        """Write the last lines, as far as somebody reads them within half a second."""
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
        """Write line after line until one is not taken; the rest of a half one stays first."""
        while self._waiting:
            line = self._waiting[0]
            try:
                count = self._write(line if self._journal is not None else line[:_PIECE])
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    return
                self.dropped += 1  # nobody is there to read it, now or later
                count = len(line)
            self._bytes -= count
            if count < len(line):
                self._waiting[0] = line[count:]
            else:
                self._waiting.popleft()

    def _choose(self) -> Write:
        """How to write without waiting. O_NONBLOCK is never set on stderr itself, which others may share."""
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
            except OSError:  # somebody else's: ask first
                return _write_if_there_is_room
            return lambda data: os.write(reopened, data)
        return lambda data: os.write(_STDERR, data)


def _write_if_there_is_room(data: bytes) -> int:
    poll = select.poll()
    poll.register(_STDERR, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(_STDERR, data)
