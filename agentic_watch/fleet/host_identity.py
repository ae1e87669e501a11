"""Which host is this? A random UUID in the state directory, since hostnames are given twice and change."""

from __future__ import annotations

import contextlib
import os
import uuid

from agentic_watch.history.history_file import make_directories
from agentic_watch.host import processes
from agentic_watch.host.new_file import new_file

_FILE = "host_id"


class NoHostId(Exception):
    """There is no host id and none can be made here, or the file holds something else; the text says which."""


def host_id(history: str) -> str:
    """The id of the host whose history this is; made at the first call, beside the history. Raises NoHostId."""
    path = _path(history)
    try:
        return _read(path) or _make(path)
    except OSError as error:
        raise NoHostId(f"{path}: {error.strerror}; run agentic-watch push once as the history's owner") from error


def known_host_id(history: str) -> str:
    """The same, but nothing is made: "" when there is none. Raises NoHostId."""
    try:
        return _read(_path(history))
    except OSError as error:
        raise NoHostId(f"{_path(history)}: {error.strerror}") from error


def _path(history: str) -> str:
    return os.path.join(os.path.dirname(history), _FILE)


def boot_id() -> str:
    """The id of this boot (random(4)): two at a time under one host id are a cloned image. "" where there is none."""
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
    """Write a new id whole, and only if no other process was first."""
    make_directories(os.path.dirname(path))
    with contextlib.suppress(FileExistsError), new_file(path, 0o644) as file:
        file.write(f"{uuid.uuid4()}\n".encode())
    return _read(path)
