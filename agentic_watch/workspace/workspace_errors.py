"""The errors of a workspace: each names the file and the cause, fit for one log line."""

from __future__ import annotations

import errno
import os
from enum import Enum, StrEnum


class Fault(Enum):
    """Who must look. WORKSPACE: what somebody put there or holds there. OPERATOR: the host's operator, for this one (a
    permission). HOST: the same would befall any workspace near it: the disk is full, read-only or broken, or the
    process may open no more files."""

    WORKSPACE = "workspace"
    OPERATOR = "operator"
    HOST = "host"


class ErrorKind(StrEnum):
    """What kind of failure it is; metrics count by it.

    It says who can help: the dispatcher (malformed), the agent's workspace (planted, too_large), the operator
    (permission, disk_full), the host's disk (io), or nobody but time (held).
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
    """Something in a workspace could not be used.

    `file` is the path inside the workspace (`.meta/status.json`), `cause` says why in a few words.
    `transient` tells whether waiting alone may heal it (an I/O error, a held lease): such a failure
    must never be taken for an absent or malformed file.
    """

    def __init__(self, file: str, cause: str, *, transient: bool = False) -> None:
        super().__init__(f"{file}: {cause}")
        self.file = file
        self.cause = cause
        self.transient = transient

    @property
    def fault(self) -> Fault:
        """Who must look; by errno where it has one."""
        number = self._errno
        if not self.transient or number == errno.EWOULDBLOCK:
            return Fault.WORKSPACE
        return Fault.HOST if number in _FAULTS_OF_HOST else Fault.OPERATOR

    @property
    def kind(self) -> ErrorKind:
        """What kind of failure it is; by errno where it has one."""
        number = self._errno
        return _KINDS.get(number, ErrorKind.IO) if number is not None else ErrorKind.OTHER

    @property
    def _errno(self) -> int | None:
        return self.__cause__.errno if isinstance(self.__cause__, OSError) else None


class Missing(WorkspaceError):
    """The file or directory is not there."""

    kind = ErrorKind.GONE


class Malformed(WorkspaceError):
    """The content, the type or the size of the file is wrong: reading it again would not help."""

    kind = ErrorKind.MALFORMED


class TooLarge(Malformed):
    """It is larger, holds more or is nested deeper than it may."""

    kind = ErrorKind.TOO_LARGE


class Planted(Malformed):
    """Something else stands where a plain file or directory should."""

    kind = ErrorKind.PLANTED


class Linked(Planted):
    """The file has another name, which may lie outside the root: reading could carry a secret into a record, writing
    could change a victim."""

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
    """Somebody else is at work on it: to be tried again soon, and nothing is wrong."""

    kind = ErrorKind.HELD
    fault = Fault.WORKSPACE

    def __init__(self, file: str, cause: str) -> None:
        super().__init__(file, cause, transient=True)


# What open(2) says when a planted object stands where a plain file or directory should be.
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
"""What is not here is the file system's."""
_PASSING = {
    errno.EWOULDBLOCK: "is leased to another process",
}


def from_os_error(file: str, error: OSError) -> WorkspaceError:
    """Translate an error of open, read or stat into the words of this package."""
    number = error.errno or 0
    if number in _GONE:
        return Missing(file, "is not there")
    if number in _PLANTED:
        return Planted(file, _PLANTED[number])
    if number == errno.ENOTDIR:
        return Planted(file, "is not a directory")
    return WorkspaceError(file, _PASSING.get(number, os.strerror(number)), transient=True)


def _is_removed(directory: int) -> bool:
    """Whether an open directory has no name any more; some file systems (FUSE, NFS) do not even answer then."""
    try:
        return os.fstat(directory).st_nlink == 0
    except OSError as error:
        return error.errno in _GONE


def cannot(directory: int, file: str, doing: str, error: OSError) -> WorkspaceError:
    """Why something could not be done in an open directory: Missing when somebody removed that one meanwhile."""
    if error.errno in _GONE and _is_removed(directory):
        return Missing(file, "is not there any more")
    return WorkspaceError(file, f"cannot {doing}: {error.strerror}", transient=True)
