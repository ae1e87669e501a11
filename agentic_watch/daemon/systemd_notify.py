"""sd_notify(3) without a library: sends the service's state to systemd over its datagram socket."""

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

    systemd acts on READY and RELOADING, so each is sent as its own datagram and retried until it was delivered, even
    when the socket is full or the manager restarts.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._owed: deque[str] = deque(maxlen=_OWED_AT_MOST)
        self.watchdog_seconds = _watchdog_seconds(environ)

    @property
    def has_owed(self) -> bool:
        """Whether a message waits to be sent again."""
        return bool(self._owed)

    def ready(self) -> None:
        """The service is ready."""
        self._owe("READY=1")

    def status(self, status: str) -> None:
        """One line for `systemctl status`, cut to what fits."""
        self._send(_status(status))

    def starting(self, status: str, seconds: float) -> None:
        """Still starting: extend the start timeout by `seconds`."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}", _status(status))

    def reloading(self) -> None:
        """A reload begins; `ready` ends it."""
        self._owe("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def send_owed(self) -> None:
        """Send waiting messages in order, until one cannot be delivered."""
        while self._owed and self._send(self._owed[0]):
            self._owed.popleft()

    def stopping(self) -> None:
        """The service is stopping."""
        self._send("STOPPING=1", "STATUS=finishing the current batch")

    def alive(self) -> None:
        """The loop completed a turn (watchdog)."""
        if self.watchdog_seconds is not None:
            self._send("WATCHDOG=1")

    def _owe(self, *lines: str) -> None:
        if self._address:
            self._owed.append("\n".join(lines))
            self.send_owed()

    def _send(self, *lines: str) -> bool:
        """Send; returns whether it was delivered. Never blocks or raises, even if the manager is restarting."""
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
    """systemd's watchdog interval; None when it is not set for this process (sd_watchdog_enabled(3))."""
    try:
        seconds = int(environ.get("WATCHDOG_USEC", "")) / 1_000_000
        meant = int(environ.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return None
    return seconds if seconds > 0 and meant == os.getpid() else None
