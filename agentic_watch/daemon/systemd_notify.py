"""Telling systemd how it goes: sd_notify(3) without a library, over the datagram socket it names."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Mapping

_STATUS_BYTES = 2_000
"""systemd ignores a datagram of more than 4,096 bytes as a whole (NOTIFY_BUFFER_MAX in its source)."""
_OWED_AT_MOST = 16


class Notifier:
    """Sends to `$NOTIFY_SOCKET`; does nothing when systemd did not start us.

    READY and RELOADING decide what systemd does, so each is a datagram of its own and is owed until it was taken: a
    socket that is full, or a manager that restarts, loses neither.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._owed: deque[str] = deque(maxlen=_OWED_AT_MOST)
        self.watchdog_seconds = _watchdog_seconds(environ)

    @property
    def has_owed(self) -> bool:
        """Whether something has yet to be sent again."""
        return bool(self._owed)

    def ready(self) -> None:
        """The service does its work from now on."""
        self._owe("READY=1")

    def status(self, status: str) -> None:
        """One line for `systemctl status`, cut to what fits."""
        self._send(_status(status))

    def starting(self, status: str, seconds: float) -> None:
        """Not ready yet, but at work: allow `seconds` more before the start counts as failed."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}", _status(status))

    def reloading(self) -> None:
        """The configuration is being read again; `ready` ends it."""
        self._owe("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def send_owed(self) -> None:
        """Send what is owed, in order, as far as it is taken."""
        while self._owed and self._send(self._owed[0]):
            self._owed.popleft()

    def stopping(self) -> None:
        """The service is ending."""
        self._send("STOPPING=1", "STATUS=finishing the group in hand")

    def alive(self) -> None:
        """The loop has made a full turn."""
        if self.watchdog_seconds is not None:
            self._send("WATCHDOG=1")

    def _owe(self, *lines: str) -> None:
        if self._address:
            self._owed.append("\n".join(lines))
            self.send_owed()

    def _send(self, *lines: str) -> bool:
        """Whether it was taken. A manager that is restarting, or does not read, must not end or block us."""
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return False
        return True


def _status(text: str) -> str:
    line = " ".join(text.splitlines()).encode("utf-8", "backslashreplace")
    if len(line) > _STATUS_BYTES:
        line = line[:_STATUS_BYTES] + "…".encode()
    return f"STATUS={line.decode('utf-8', 'ignore')}"


def _watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """How often systemd wants to hear from us, None when it does not (sd_watchdog_enabled(3))."""
    try:
        seconds = int(environ.get("WATCHDOG_USEC", "")) / 1_000_000
        meant = int(environ.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return seconds if seconds > 0 and meant == os.getpid() else None
