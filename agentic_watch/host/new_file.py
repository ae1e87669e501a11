"""Creates files atomically: complete under their name, or not at all. Also removes leftovers of killed processes."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

_RANDOM_BYTES = 6
_UNFINISHED = re.compile(r"agentic-watch\.[0-9a-f]{12}\.part(-journal)?")
"""Names of unfinished files: that of the target is not in it, since the next file often has another one."""
_JOURNAL = "-journal"
"""What SQLite adds to the name of a file for its rollback journal; only the file itself is locked."""


@contextlib.contextmanager
def new_file(path: str, mode: int, *, replace: bool = False, is_durable: bool = True) -> Iterator[BinaryIO]:
    """A file to write, moved to its place when the block succeeds, else removed; durable unless it is rewritten
    frequently.

    Without `replace` an existing file is never replaced, because it may be the only copy. Raises OSError,
    FileExistsError when the name exists.
    """
    with (
        _beside(path, mode, os.rename if replace else _link, is_durable=is_durable) as (_, descriptor),
        open(descriptor, "r+b", closefd=False) as file,
    ):
        yield file


@contextlib.contextmanager
def new_path(path: str, mode: int = 0o644) -> Iterator[str]:
    """The name of an empty file beside `path`, for writers that need a name; it then replaces `path`, durably.

    Raises OSError.
    """
    with _beside(path, mode, os.rename, is_durable=True) as (temporary, _):
        yield temporary


@contextlib.contextmanager
def _beside(path: str, mode: int, place: Callable[[str, str], None], *, is_durable: bool) -> Iterator[tuple[str, int]]:
    """Create an empty file beside `path`; returns its name and descriptor. Leftovers of earlier runs are removed."""
    directory = os.path.dirname(path)
    remove_leftovers(directory)
    descriptor, temporary = -1, ""
    try:
        while descriptor < 0:
            name = f"agentic-watch.{os.urandom(_RANDOM_BYTES).hex()}.part"
            temporary = os.path.join(directory, name)  # known before the creation, in case of a signal
            descriptor = _create(temporary, mode)
        yield temporary, descriptor
        if is_durable:
            os.fsync(descriptor)
        place(temporary, path)
        if is_durable:
            _sync_directory(directory or ".")
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def remove_leftovers(directory: str) -> None:
    """Remove what killed processes left in a directory. Raises OSError when that cannot be read."""
    for unfinished in leftovers(directory):
        with contextlib.suppress(OSError):  # owned by another user
            os.unlink(unfinished)


def leftovers(directory: str) -> list[str]:
    """Unfinished files in a directory that no running process is writing. Raises OSError when that cannot be read."""
    names = sorted(filter(_UNFINISHED.fullmatch, os.listdir(directory or ".")))
    return [path for name in names if _is_left(path := os.path.join(directory, name))]


def _create(temporary: str, mode: int) -> int:
    """Create a file and lock it, which marks it as in use; returns the descriptor, or -1 if another process removed it
    as a leftover before the lock."""
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    if os.path.lexists(temporary):
        return descriptor
    os.close(descriptor)
    return -1


def _is_left(path: str) -> bool:
    try:
        descriptor = os.open(path.removesuffix(_JOURNAL), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return path.endswith(_JOURNAL)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _link(temporary: str, path: str) -> None:
    """Give the file its name, unless that exists."""
    os.link(temporary, path)
    os.unlink(temporary)


def _sync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
