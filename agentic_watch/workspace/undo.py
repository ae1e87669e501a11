"""Removes bytes from a file that other processes append to: only our own bytes, or those that certainly no process is
still writing.

core-agent appends to the same journals without a lock, and may be inside write(2) at any moment. ftruncate(2) would
wait for that write and then cut it off.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from agentic_watch.workspace import files
from agentic_watch.workspace.workspace_errors import Busy, from_os_error

REST_SECONDS = 1.0
"""Time without a change after which an incomplete line counts as abandoned."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Identifies bytes that we appended, without keeping them."""

    count: int
    checksum: int

    @classmethod
    def of(cls, data: bytes) -> Piece:
        """The piece for these bytes."""
        return cls(len(data), zlib.crc32(data))


def take_back(directory: int, name: str, descriptor: int, piece: Piece) -> None:
    """Undo the last write through this appending descriptor.

    The bytes are truncated if they are the end of the file and no other process has it open; otherwise they are
    overwritten by a blank line, so that later appends stay separate lines. Raises WorkspaceError.
    """
    try:
        # After an append the descriptor's offset is the end of the written bytes (write(2)).
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        start = end - piece.count
        if start < 0 or Piece.of(os.pread(descriptor, piece.count, start)) != piece:
            return  # it was never written
        with alone(descriptor) as is_alone:
            if is_alone and os.fstat(descriptor).st_size == end:
                files.truncate(descriptor, start, name)
                return
        _blank(directory, name, descriptor, (start, end))
    except OSError as error:
        raise from_os_error(name, error) from error
    files.sync(descriptor, name)


@contextlib.contextmanager
def at_rest(descriptor: int, size: int, label: str) -> Iterator[None]:
    """While the body runs, no other process changes the file, which has this size and an abandoned last line.

    Where a lease is possible (fcntl(2)), no other process has the file open or can open it meanwhile; elsewhere it must
    not have changed for REST_SECONDS. Raises Busy.
    """
    with alone(descriptor) as is_alone:
        info = files.stat_of(descriptor, label)
        # A time in the future was set before a step of the clock.
        quiet = abs(time.time() - max(info.st_mtime, info.st_ctime))
        if is_alone is False or info.st_size != size or quiet < REST_SECONDS:
            raise Busy(label, "ends in an incomplete line, which may still be written")
        yield


@contextlib.contextmanager
def alone(descriptor: int) -> Iterator[bool | None]:
    """Whether no other process has the file open or can open it meanwhile; None where leases are not supported."""
    try:
        # Another open waits for us; the kernel notifies us by a signal, which must be ignored.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        yield False
        return
    except OSError:  # not our file and no CAP_LEASE, or no leases on this file system
        yield None
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def is_wanted(descriptor: int) -> bool:
    """Whether another process waits to open a file held by `alone` (fcntl(2), F_GETLEASE returns the target type)."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) != fcntl.F_WRLCK
    except OSError:
        return False


def _blank(directory: int, name: str, appending: int, span: tuple[int, int]) -> None:
    """Overwrite the bytes with spaces and a newline, by another descriptor: an appending one always appends (pwrite(2),
    BUGS)."""
    start, end = span
    descriptor = files.open_to_overwrite(directory, name)
    try:
        if os.path.samestat(os.fstat(descriptor), os.fstat(appending)):
            while start < end:
                piece = b" " * min(1 << 20, end - start - 1) or b"\n"
                start += os.pwrite(descriptor, piece, start)
    finally:
        os.close(descriptor)
