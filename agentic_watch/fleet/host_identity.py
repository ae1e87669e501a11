"""The host id: a random UUID in the state directory, since hostnames are not unique and may change."""

from __future__ import annotations

import contextlib
import os
import uuid

from agentic_watch.history.history_file import make_directories
from agentic_watch.host import processes
from agentic_watch.host.new_file import new_file

_FILE = "host_id"


class NoHostId(Exception):
    """There is no host id and it cannot be created, or the file is invalid; the text says which."""


def host_id(history: str) -> str:
    """The id of the history's host; created beside the history at the first call. Raises NoHostId."""
    path = _path(history)
    try:
        return _read(path) or _make(path)
    except OSError as error:
        raise NoHostId(f"{path}: {error.strerror}; run agentic-watch push once as the history's owner") from error


def known_host_id(history: str) -> str:
    """The existing id, or "". Raises NoHostId."""
    try:
        return _read(_path(history))
    except OSError as error:
        raise NoHostId(f"{_path(history)}: {error.strerror}") from error


def _path(history: str) -> str:
    return os.path.join(os.path.dirname(history), _FILE)


def boot_id() -> str:
    """The id of this boot (random(4)), or "". Two simultaneous boots with one host id mean a cloned image."""
    with contextlib.suppress(ValueError):
        return str(uuid.UUID(processes.here().boot))
    return ""


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            text = file.read(100).strip()
    except FileNotFoundError:
        return ""
    try:
        return str(uuid.UUID(text.decode("ascii")))
    except ValueError as error:
        raise NoHostId(f"{path}: is not a UUID; restore it, or remove it to be a new host") from error


def _make(path: str) -> str:
    """Create the id atomically, unless another process was first."""
    make_directories(os.path.dirname(path))
    with contextlib.suppress(FileExistsError), new_file(path, 0o644) as file:
        file.write(f"{uuid.uuid4()}\n".encode())
    return _read(path)
