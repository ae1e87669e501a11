"""The way to the journal that takes fields beside the text (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""

from __future__ import annotations

import socket

_PATH = "/run/systemd/journal/socket"


def connect(path: str = _PATH) -> socket.socket | None:
    """A socket that takes an entry a datagram and never waits; None where there is none, as outside of systemd."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection
