"""The only module that opens paths inside a workspace, and that makes data durable.

An agent may have planted anything there and may change it at any time. So no path of more than one component is ever
opened: directories are walked by descriptor, no symlink is followed, no open or read can block, and an open file is
checked by its descriptor, never by its name.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from typing import NamedTuple

from agentic_watch.workspace import signatures
from agentic_watch.workspace.owner import own_as
from agentic_watch.workspace.workspace_errors import (
    Linked,
    Planted,
    ShortWrite,
    TooLarge,
    WorkspaceError,
    cannot,
    from_os_error,
)

# O_NONBLOCK: a FIFO opens at once, and a file lease held by an agent gives EWOULDBLOCK instead of
# blocking the open for /proc/sys/fs/lease-break-time (45 s). See open(2), fcntl(2) "Leases".
_GUARDED = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | _GUARDED
_CHUNK = 1 << 20


class Content(NamedTuple):
    """The bytes of a file and its signature when they were read; b"" when it changed so recently that another change
    could leave the same signature (the kernel's file clock ticks every 1 to 10 ms). With `links` above one, it has
    another name, possibly outside the workspace."""

    data: bytes
    signature: bytes
    links: int = 1


def open_root(path: str) -> int:
    """Open a configured root. Its own path may contain symlinks, since the operator configured it."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def open_directory(parent: int, name: str, label: str) -> int:
    """Open the real directory `name` of `parent`; `label` names it in an error."""
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError as error:
        raise _directory_error(parent, name, label, error) from error


def _directory_error(parent: int, name: str, label: str, error: OSError) -> WorkspaceError:
    # O_DIRECTORY|O_NOFOLLOW gives ENOTDIR for a symlink as for a file; an lstat distinguishes them.
    with contextlib.suppress(OSError):
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return Planted(label, "is a symbolic link")
    return from_os_error(label, error)


def walk(root: int, name: str) -> int:
    """Open the directory `name` (components separated by `/`) below `root`, one real directory at a time."""
    current = root
    try:
        for component in name.split("/"):
            inner = open_directory(current, component, component)
            if current != root:
                os.close(current)
            current = inner
    except BaseException:
        if current != root:
            os.close(current)
        raise
    return current


def _open_regular(directory: int, name: str, label: str, flags: int) -> tuple[int, os.stat_result]:
    """Open a regular file, even one with hard links."""
    try:
        descriptor = os.open(name, flags | _GUARDED, dir_fd=directory)
        info = os.fstat(descriptor)
    except OSError as error:
        raise from_os_error(label, error) from error
    if not stat.S_ISREG(info.st_mode):
        os.close(descriptor)
        raise Planted(label, "is not a regular file")
    return descriptor, info


def stat_of(descriptor: int, label: str) -> os.stat_result:
    """fstat(2) of an open file. Raises WorkspaceError: some file systems fail for removed files."""
    try:
        return os.fstat(descriptor)
    except OSError as error:
        raise from_os_error(label, error) from error


def read(directory: int, name: str, label: str, limit: int, *, one_link: bool = True) -> Content:
    """Read a whole regular file of at most `limit` bytes; without `one_link`, hard links are allowed.

    Raises Missing, Malformed (not a regular file, too large) or WorkspaceError (I/O).
    """
    descriptor, info = _open_regular(directory, name, label, os.O_RDONLY)
    try:
        if one_link and info.st_nlink > 1:
            raise Linked(label, info.st_nlink)
        if info.st_size > limit:
            raise TooLarge(label, f"is {info.st_size} bytes, over the limit of {limit}")
        # Request one byte more than the size, so that one call usually reaches the end of file too.
        data = os.read(descriptor, min(info.st_size, limit) + 1)
        while (piece := os.read(descriptor, _CHUNK)) if len(data) > info.st_size else b"":
            data += piece
            if len(data) > limit:
                break
        if len(data) > limit:
            raise TooLarge(label, f"grew over the limit of {limit} bytes while it was read")
        signature = signatures.of(info) if signatures.is_settled(info, time.time_ns()) else b""
        return Content(data, signature, info.st_nlink)
    except OSError as error:
        raise from_os_error(label, error) from error
    finally:
        os.close(descriptor)


def open_lines(directory: int, name: str, label: str, *, append: bool) -> tuple[int, os.stat_result]:
    """Open an existing file for reading, and with `append` for appending; returns the descriptor and its stat.

    Raises Linked when a file to append to has hard links.
    """
    flags = os.O_RDWR | os.O_APPEND if append else os.O_RDONLY
    descriptor, info = _open_regular(directory, name, label, flags)
    if append and info.st_nlink > 1:
        os.close(descriptor)
        raise Linked(label, info.st_nlink)
    if append and info.st_size == 0 and info.st_uid == os.geteuid() == 0:
        # Created by a root process that was killed before it changed the owner. A non-empty file might be planted, so
        # it keeps its owner.
        try:
            own_as(descriptor, directory, label)
        except WorkspaceError:
            os.close(descriptor)
            raise
    return descriptor, info


def open_to_overwrite(directory: int, name: str) -> int:
    """Open an existing file to overwrite bytes. Raises OSError; the caller checks the descriptor."""
    return os.open(name, os.O_WRONLY | _GUARDED, dir_fd=directory)


def create(directory: int, name: str, label: str, flags: int = 0, *, mode: int = 0o644) -> int:
    """Create a new file (`mode` less umask; as root, owned like its directory)."""
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _GUARDED | flags, mode, dir_fd=directory)
    except OSError as error:
        raise cannot(directory, label, "be created", error) from error
    try:
        own_as(descriptor, directory, label, made=True)
    except WorkspaceError:
        os.close(descriptor)
        remove(directory, name)
        raise
    return descriptor


class NameTaken(WorkspaceError):
    """The name for a new directory already exists."""


def make_directory(parent: int, name: str, label: str, *, new: bool = False, mode: int = 0o755) -> int:
    """Create the directory `name` durably (`mode` less umask) if it does not exist, and open it.

    With `new` it must not exist yet, as a file of any type: raises NameTaken.
    """
    try:
        os.mkdir(name, mode, dir_fd=parent)
        made = True
    except FileExistsError as error:
        if new:
            raise NameTaken(label, "already exists") from error
        made = False
    except OSError as error:
        raise WorkspaceError(label, f"cannot be created: {error.strerror}", transient=True) from error
    descriptor = open_directory(parent, name, label)
    try:
        if made:
            own_as(descriptor, parent, label, made=True)
            sync(parent, label)
    except WorkspaceError:
        os.close(descriptor)
        raise
    return descriptor


def own_if_empty(directory: int, parent: int, label: str) -> None:
    """Give an empty directory owned by root to its parent's owner: a killed process created it."""
    if stat_of(directory, label).st_uid == os.geteuid() == 0 and names(directory, 0, label)[1]:
        own_as(directory, parent, label)


def write(descriptor: int, data: bytes, label: str) -> None:
    """Write `data` in one call. A short write raises ShortWrite: the caller undoes it."""
    try:
        count = os.write(descriptor, data)
    except OSError as error:
        raise WorkspaceError(label, f"cannot be written: {error.strerror}", transient=True) from error
    if count != len(data):
        raise ShortWrite(label, count, len(data))


def sync(descriptor: int, label: str) -> None:
    """fsync: when this returns the file, or the directory's entries, survive a power cut."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise WorkspaceError(label, f"cannot be synced: {error.strerror}", transient=True) from error


def truncate(descriptor: int, size: int, label: str) -> None:
    """Truncate the file to `size` bytes and sync it."""
    try:
        os.ftruncate(descriptor, size)
    except OSError as error:
        raise WorkspaceError(label, f"cannot be truncated: {error.strerror}", transient=True) from error
    sync(descriptor, label)


def replace(directory: int, temporary: str, name: str, label: str) -> None:
    """Rename `temporary` over `name` in one directory. The caller syncs the directory."""
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        raise cannot(directory, label, "be replaced", error) from error


def remove(directory: int, name: str) -> None:
    """Remove a file if it exists; directories and errors are ignored."""
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=directory)


def random_name(prefix: str) -> str:
    """A temporary name that an agent cannot guess and plant beforehand."""
    return f"{prefix}{os.urandom(8).hex()}.tmp"


def free_name(directory: int, name: str) -> str:
    """The first of `name`, `name-1`, `name-2`, … that does not exist."""
    for number in range(1000):
        wanted = f"{name}-{number}" if number else name
        try:
            os.stat(wanted, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return wanted
        except OSError as error:
            raise from_os_error(wanted, error) from error
    return random_name(f"{name}-")


def names(directory: int, at_most: int, label: str) -> tuple[frozenset[str], bool]:
    """Up to `at_most` names in a directory, and whether the list is complete."""
    found: list[str] = []
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if len(found) >= at_most:
                    return frozenset(found), False
                found.append(entry.name)
    except OSError as error:
        raise from_os_error(label, error) from error
    return frozenset(found), True


def device_if_same(directory: int, name: str, descriptor: int) -> int | None:
    """The device number of the open `descriptor`, if `name` still refers to it; else None."""
    try:
        here = os.fstat(descriptor)
        there = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None
    return here.st_dev if os.path.samestat(there, here) else None


def try_lock(descriptor: int, label: str) -> bool:
    """Take flock(2) exclusively without waiting; False when another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # NFS without a lock daemon fails with ENOLCK.
        raise WorkspaceError(label, f"cannot be locked: {error.strerror}", transient=True) from error
    return True


def read_at(descriptor: int, size: int, start: int, label: str) -> bytes:
    """Up to `size` bytes from offset `start` of an open file."""
    try:
        return os.pread(descriptor, size, start)
    except OSError as error:
        raise from_os_error(label, error) from error


def pieces(descriptor: int, start: int, end: int, label: str) -> Iterator[bytes]:
    """Yield the bytes from `start` to `end` of an open file in bounded pieces."""
    while start < end:
        piece = read_at(descriptor, min(_CHUNK, end - start), start, label)
        if not piece:
            return
        start += len(piece)
        yield piece
