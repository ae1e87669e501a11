"""The errors of a workspace: each names the file and the cause, fit for one log line."""

from __future__ import annotations

import errno
import os


class WorkspaceError(Exception):
    """Something in a workspace could not be used.

    `file` is the path inside the workspace (`.meta/status.json`), `cause` says why in a few words.
    `passing` tells whether waiting alone may heal it (an I/O error, a held lease): such a failure
    must never be taken for an absent or malformed file.
    """

    def __init__(self, file: str, cause: str, *, transient: bool = False) -> None:
        super().__init__(f"{file}: {cause}")
        self.file = file
        self.cause = cause
        self.transient = transient

    @property
    def is_fault_of_host(self) -> bool:
        """Whether the same would befall any workspace near it: the disk is full, read-only or broken, or the process
        may open no more files."""
        cause = self.__cause__
        return isinstance(cause, OSError) and cause.errno in _FAULTS_OF_HOST

    @property
    def lies_in_workspace(self) -> bool:
        """Whether the cause is what somebody put there or holds there; else the host's operator must look: a
        permission, a disk."""
        cause = self.__cause__
        return not self.transient or (isinstance(cause, OSError) and cause.errno == errno.EWOULDBLOCK)


class Missing(WorkspaceError):
    """The file or directory is not there."""


class Malformed(WorkspaceError):
    """The content, the type or the size of the file is wrong: reading it again would not help."""


class Linked(Malformed):
    """The file has another name, which may lie outside the root: reading could carry a secret into a record, writing
    could change a victim."""

    def __init__(self, file: str, links: int) -> None:
        super().__init__(file, f"has {links} hard links")


class ShortWrite(WorkspaceError):
    """A write took only `count` bytes."""

    def __init__(self, file: str, count: int, wanted: int) -> None:
        super().__init__(file, f"took only {count} of {wanted} bytes (disk full?)", transient=True)
        self.count = count

    @property
    def is_fault_of_host(self) -> bool:
        """It is: only a disk that is full takes a part."""
        return True


class Busy(WorkspaceError):
    """Somebody else is at work on it: to be tried again soon, and nothing is wrong."""

    def __init__(self, file: str, cause: str) -> None:
        super().__init__(file, cause, transient=True)

    @property
    def lies_in_workspace(self) -> bool:
        """It does: who is at work there is none of the host's affairs."""
        return True


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
_PASSING = {
    errno.EWOULDBLOCK: "is leased to another process",
}


def from_os_error(file: str, error: OSError) -> WorkspaceError:
    """Translate an error of open, read or stat into the words of this package."""
    number = error.errno or 0
    if number in _GONE:
        return Missing(file, "is not there")
    if number in _PLANTED:
        return Malformed(file, _PLANTED[number])
    if number == errno.ENOTDIR:
        return Malformed(file, "is not a directory")
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
