"""Reads a file written by a command, as safely as a status, and converts it to UTF-8."""

from __future__ import annotations

import codecs
import contextlib
import os

from agentic_watch.workspace import files
from agentic_watch.workspace.workspace_errors import WorkspaceError, from_os_error

_LIMIT = 32 << 20
MAX_VALUES = 2_000_000
"""Maximum number of JSON values in one file."""
_SLACK_NS = 2_000_000_000
"""Some file systems store times in units of two seconds."""
_UTF_16 = {
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    **{first + b"\0": "utf-16-le" for first in (b"<", b"{", b"[")},
    **{b"\0" + first: "utf-16-be" for first in (b"<", b"{", b"[")},
}
"""First bytes of UTF-16 texts, with and without a byte order mark."""


class Unreadable(Exception):
    """The file cannot be used; the text is the cause."""


def locate(path: str, workspace: str) -> str:
    """Resolve a relative `path`: in the current directory, else in the workspace's directory."""
    there = os.path.join(workspace, path)
    if not os.path.lexists(path) and os.path.lexists(there):
        return there
    with contextlib.suppress(FileNotFoundError):  # the current directory was removed
        return os.path.abspath(path)
    return path


def read(path: str, since_ns: int = 0) -> bytes:
    """The bytes of a regular file of at most 32 MiB. Raises Unreadable.

    Also raised for a file older than `since_ns` (since the epoch), which belongs to an earlier run.
    """
    try:
        directory = files.open_root(os.path.dirname(path) or ".")
    except OSError as error:
        raise Unreadable(from_os_error(os.path.dirname(path), error).cause) from error
    name = os.path.basename(path)
    try:
        data = files.read(directory, name, name, _LIMIT).data
        written_at = os.stat(name, dir_fd=directory).st_mtime_ns
    except WorkspaceError as error:
        raise Unreadable(error.cause) from error
    except OSError as error:
        raise Unreadable(error.strerror) from error
    finally:
        os.close(directory)
    if written_at + _SLACK_NS < since_ns:
        raise Unreadable("is older than the run")
    return data


def utf_8(data: bytes) -> bytes:
    """Convert UTF-16 to UTF-8 and remove a byte order mark; other bytes are unchanged."""
    encoding = _UTF_16.get(data[:2])
    if encoding is not None:
        return data.decode(encoding, "replace").encode("utf-8", "replace")
    return data.removeprefix(codecs.BOM_UTF8)
