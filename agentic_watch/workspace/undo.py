"""Taking something out of a file that others append to: only our own bytes, or what certainly nobody writes any more.

The original appends to the same journals without a lock, and may be inside its write(2) at any moment. ftruncate(2)
would wait for that write and then cut it off.
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
"""So long nothing may have changed before a piece of a line counts as all that will come."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that we appended, as they are known again without being kept."""

    count: int
    checksum: int

    @classmethod
    def of(cls, data: bytes) -> Piece:
        """The piece that these bytes are."""
        return cls(len(data), zlib.crc32(data))


def take_back(directory: int, name: str, descriptor: int, piece: Piece) -> None:
    """Take back what was last written through this appending descriptor.

    It is cut off when it is the file's end and nobody else has the file open; otherwise a blank line takes its place,
    so that whatever was appended behind it is a line of its own. Raises WorkspaceError.
    """
    try:
        # After an append the descriptor's position is the end of what it wrote (write(2)).
        end = os.lseek(descriptor, 0, os.SEEK_CUR)
        start = end - piece.count
        if start < 0 or Piece.of(os.pread(descriptor, piece.count, start)) != piece:
            return  # it never came there
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
    """Hold a file still, while it has this size and its last piece of a line is all that will come.

    Where a lease can be had (fcntl(2)) nobody else has the file open, and nobody can open it before the end; elsewhere
    that it has not changed for REST_SECONDS must do. Raises Busy.
    """
    with alone(descriptor) as is_alone:
        info = files.stat_of(descriptor, label)
        # A time in the future is one before a step of the clock.
        quiet = abs(time.time() - max(info.st_mtime, info.st_ctime))
        if is_alone is False or info.st_size != size or quiet < REST_SECONDS:
            raise Busy(label, "ends in a piece of a line, and may be in the middle of being written")
        yield


@contextlib.contextmanager
def alone(descriptor: int) -> Iterator[bool | None]:
    """Whether nobody else has the file open, nor can open it meanwhile; None where the kernel does not tell."""
    try:
        # Who opens it waits for us; the kernel tells us by a signal, which must be one that is ignored.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        yield False
        return
    except OSError:  # not our file and no CAP_LEASE, or a file system without leases
        yield None
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def is_wanted(descriptor: int) -> bool:
    """Whether somebody waits to open a file that is held by `alone` (fcntl(2), F_GETLEASE: what the lease will be)."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) != fcntl.F_WRLCK
    except OSError:
        return False


def _blank(directory: int, name: str, appending: int, span: tuple[int, int]) -> None:
    """Write spaces and a newline over these bytes; an appending descriptor could only append (pwrite(2), BUGS)."""
    start, end = span
    descriptor = files.open_to_overwrite(directory, name)
    try:
        if os.path.samestat(os.fstat(descriptor), os.fstat(appending)):
            while start < end:
                piece = b" " * min(1 << 20, end - start - 1) or b"\n"
                start += os.pwrite(descriptor, piece, start)
    finally:
        os.close(descriptor)
