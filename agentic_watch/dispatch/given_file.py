"""Reads a file that a command left behind, as safely as a status is read, and makes its bytes UTF-8."""

from __future__ import annotations

import codecs
import contextlib
import os

from agentic_watch.workspace import files
from agentic_watch.workspace.workspace_errors import WorkspaceError, from_os_error

_LIMIT = 32 << 20
MAX_VALUES = 2_000_000
"""The most JSON values of one file."""
_SLACK_NS = 2_000_000_000
"""Some file systems keep times in units of two seconds."""
_UTF_16 = {
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    **{first + b"\0": "utf-16-le" for first in (b"<", b"{", b"[")},
    **{b"\0" + first: "utf-16-be" for first in (b"<", b"{", b"[")},
}
"""How a text in UTF-16 begins, with a byte order mark and without."""


class Unreadable(Exception):
    """The file cannot be used; the text is the cause."""


def locate(path: str, workspace: str) -> str:
    """The file that a relative `path` names: in the current directory, else in the workspace's directory."""
    there = os.path.join(workspace, path)
    if not os.path.lexists(path) and os.path.lexists(there):
        return there
    with contextlib.suppress(FileNotFoundError):  # the current directory was removed
        return os.path.abspath(path)
    return path


def read(path: str, since_ns: int = 0) -> bytes:
    """The bytes of a plain file of at most 32 MiB. Raises Unreadable.

    A file older than `since_ns` (since the epoch) is of another run, and says nothing of this one.
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
    """The text in UTF-8 without a byte order mark, where it has one or is in UTF-16; else the bytes as they are."""
    encoding = _UTF_16.get(data[:2])
    if encoding is not None:
        return data.decode(encoding, "replace").encode("utf-8", "replace")
    return data.removeprefix(codecs.BOM_UTF8)
