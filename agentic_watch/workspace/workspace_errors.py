"""Errors about files in a workspace: each names the file and the cause, in one log line."""

from __future__ import annotations

import errno
import os
from enum import Enum, StrEnum


class Fault(Enum):
    """Who has to fix it. WORKSPACE: its content, or a process that holds it. OPERATOR: an operator, for this workspace
    only (a permission). HOST: an operator, for all workspaces: the disk is full, read-only or broken, or the process
    has no descriptors left."""

    WORKSPACE = "workspace"
    OPERATOR = "operator"
    HOST = "host"


class ErrorKind(StrEnum):
    """The kind of failure, by which metrics count.

    It shows where the fix is: the dispatcher (malformed), the agent's workspace (planted, too_large), the operator
    (permission, disk_full), the host's disk (io), or only time (held).
    """

    PERMISSION = "permission"
    DISK_FULL = "disk_full"
    HELD = "held"
    TOO_LARGE = "too_large"
    PLANTED = "planted"
    GONE = "gone"
    MALFORMED = "malformed"
    IO = "io"
    OTHER = "other"


class WorkspaceError(Exception):
    """A file or directory of a workspace cannot be used.

    `file` is the path inside the workspace (`.meta/status.json`), `cause` a short reason. `transient` errors (I/O, a
    held lease) may disappear by waiting, and must never be taken for a missing or malformed file.
    """

    def __init__(self, file: str, cause: str, *, transient: bool = False) -> None:
        super().__init__(f"{file}: {cause}")
        self.file = file
        self.cause = cause
        self.transient = transient

    @property
    def fault(self) -> Fault:
        """Who has to fix it; from errno if there is one."""
        number = self._errno
        if not self.transient or number == errno.EWOULDBLOCK:
            return Fault.WORKSPACE
        return Fault.HOST if number in _FAULTS_OF_HOST else Fault.OPERATOR

    @property
    def kind(self) -> ErrorKind:
        """The kind of failure; from errno if there is one."""
        number = self._errno
        return _KINDS.get(number, ErrorKind.IO) if number is not None else ErrorKind.OTHER

    @property
    def _errno(self) -> int | None:
        return self.__cause__.errno if isinstance(self.__cause__, OSError) else None


class Missing(WorkspaceError):
    """The file or directory does not exist."""

    kind = ErrorKind.GONE


class Malformed(WorkspaceError):
    """Content, type or size of the file is invalid; reading it again would not help."""

    kind = ErrorKind.MALFORMED


class TooLarge(Malformed):
    """The file is over a limit of size, number of values or nesting."""

    kind = ErrorKind.TOO_LARGE


class Planted(Malformed):
    """A file of another type is in the place of a regular file or directory."""

    kind = ErrorKind.PLANTED


class Linked(Planted):
    """The file has hard links, possibly outside the root: reading could copy a secret into a record, writing could
    change another file."""

    def __init__(self, file: str, links: int) -> None:
        super().__init__(file, f"has {links} hard links")


class ShortWrite(WorkspaceError):
    """A write took only `count` bytes."""

    kind = ErrorKind.DISK_FULL
    fault = Fault.HOST

    def __init__(self, file: str, count: int, wanted: int) -> None:
        super().__init__(file, f"took only {count} of {wanted} bytes (disk full?)", transient=True)
        self.count = count


class Busy(WorkspaceError):
    """Another process uses the file: no error, try again soon."""

    kind = ErrorKind.HELD
    fault = Fault.WORKSPACE

    def __init__(self, file: str, cause: str) -> None:
        super().__init__(file, cause, transient=True)


# Errors of open(2) for a planted object in the place of a regular file or directory.
_PLANTED = {
    errno.ELOOP: "is a symbolic link",
    errno.ENXIO: "is a FIFO or a socket",
    errno.EISDIR: "is a directory",
    errno.ENODEV: "is a device",
}
_FAULTS_OF_HOST = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
)
_GONE = (errno.ENOENT, errno.ESTALE)
_KINDS = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), ErrorKind.PERMISSION),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), ErrorKind.DISK_FULL),
    **dict.fromkeys(_GONE, ErrorKind.GONE),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE, errno.ENOMEM), ErrorKind.OTHER),
    errno.EWOULDBLOCK: ErrorKind.HELD,
}
"""Kinds by errno; other errors belong to the file system (io)."""
_PASSING = {
    errno.EWOULDBLOCK: "is leased to another process",
}


def from_os_error(file: str, error: OSError) -> WorkspaceError:
    """Translate an error of open, read or stat into a WorkspaceError."""
    number = error.errno or 0
    if number in _GONE:
        return Missing(file, "is not there")
    if number in _PLANTED:
        return Planted(file, _PLANTED[number])
    if number == errno.ENOTDIR:
        return Planted(file, "is not a directory")
    return WorkspaceError(file, _PASSING.get(number, os.strerror(number)), transient=True)


def _is_removed(directory: int) -> bool:
    """Whether an open directory was removed; some file systems (FUSE, NFS) fail to stat it then."""
    try:
        return os.fstat(directory).st_nlink == 0
    except OSError as error:
        return error.errno in _GONE


def cannot(directory: int, file: str, doing: str, error: OSError) -> WorkspaceError:
    """The error of an operation in an open directory: Missing if the directory was removed meanwhile."""
    if error.errno in _GONE and _is_removed(directory):
        return Missing(file, "no longer exists")
    return WorkspaceError(file, f"cannot {doing}: {error.strerror}", transient=True)
