"""What the service's user can read and write, tested before the start by the kernel where possible; and the ownership
of the history's files.

The history and the files beside it must belong to the service's user. Root may have created them earlier, by
`agentic-watch --once` or a restore.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import agentic_watch
from agentic_watch.service import units
from agentic_watch.service.units import hidden_by

LINGER = "/var/lib/systemd/linger"
"""Has a file for each user whose services run without a login (loginctl enable-linger)."""

_SECONDS = 60.0
_MOMENT = 0.1
_NOT_WRITABLE = r"""for path; do
    [ -w "$path" ] && { [ ! -d "$path" ] || [ -x "$path" ]; } || printf '%s\0' "$path"
done"""
_NOT_ENTERED = r"""for path; do [ -x "$path" ] || printf '%s\0' "$path"; done"""


class NoSuchAccount(Exception):
    """The user or group does not exist; the message names it."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user: its id and the ids of all its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    @classmethod
    def of(cls, name: str) -> Account:
        """Look a user up. Raises NoSuchAccount."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError as error:
            raise NoSuchAccount(f"{name}: no such user; create it first, or omit --run-as") from error
        return cls(name, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))

    @property
    def group(self) -> str:
        """The name of its first group, or the number when that has none."""
        return group_name(self.gid)


def with_groups(account: Account, group: str, further: Sequence[str]) -> Account:
    """The account with a unit's Group= ("": its own) and SupplementaryGroups=; unknown groups are ignored."""
    gid = _gid(group) if group else account.gid
    groups = (*account.groups, *map(_gid, further), gid)
    known = dict.fromkeys(number for number in groups if number is not None)
    return replace(account, gid=account.gid if gid is None else gid, groups=tuple(known))


def of_process(pid: int, name: str) -> Account | None:
    """The account of a running process, with the groups of its start; None when it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            said = dict(line.split(":", 1) for line in file)
    except (OSError, ValueError):
        return None
    _, uid, *_ = map(int, said["Uid"].split())
    _, gid, *_ = map(int, said["Gid"].split())
    return Account(name, uid, gid, tuple(map(int, said["Groups"].split())))


def _gid(group: str) -> int | None:
    try:
        return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def group_name(gid: int) -> str:
    """A group's name, or its number when it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def hidden_program() -> tuple[str, str] | None:
    """(path, setting) of the first part of this program that the system unit hides; None when none is hidden."""
    package = os.path.dirname(agentic_watch.__file__)
    parts = [sys.executable, sys.prefix, sys.base_prefix, package]
    for part in [*parts, *map(os.path.realpath, parts)]:
        if (setting := hidden_by(part)) is not None:
            return part, setting
    return None


def can_import(account: Account, command: Sequence[str]) -> bool:
    """Whether a user can run the interpreter and read the program (a strict umask at install may prevent it)."""
    test = [*command[:-2], "-c", "import agentic_watch.cli"]
    return _as(account, test).returncode == 0


def can_read(account: Account, path: str) -> bool:
    """Whether a user can read a file."""
    return _as(account, ["/bin/sh", "-c", '[ -r "$1" ]', "sh", path]).returncode == 0


def not_writable(account: Account, paths: Sequence[str]) -> list[str]:
    """The files and directories that a user cannot write, for any reason (mode, group, ACL, mount)."""
    return _as(account, ["/bin/sh", "-c", _NOT_WRITABLE, "sh", *paths]).stdout.split("\0")[:-1]


def not_entered(account: Account, directories: Sequence[str]) -> list[str]:
    """The directories that a user cannot enter."""
    return _as(account, ["/bin/sh", "-c", _NOT_ENTERED, "sh", *directories]).stdout.split("\0")[:-1]


def can_be_asked(account: Account) -> bool:
    """Whether this process can test that user's access: as root, or as the user itself."""
    return os.geteuid() in (0, account.uid)


def _as(account: Account, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    become = os.geteuid() == 0 != account.uid  # root in a container may not be allowed to set its groups
    return subprocess.run(  # noqa: S603  ours
        command,
        user=account.uid if become else None,
        group=account.gid if become else None,
        extra_groups=account.groups if become else None,
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=_SECONDS,
        check=False,
    )


def lingers(uid: int) -> bool:
    """Whether a user's services run without a login (loginctl(1), enable-linger)."""
    try:
        return os.path.exists(os.path.join(LINGER, pwd.getpwuid(uid).pw_name))
    except KeyError:
        return False


_SUFFIXES = ("", "-wal", "-shm", ".daemon", ".cookie")
_OF_THE_PUSHER = ("host_id", "push", "push.db", "push/push.db")
_BESIDE = (*_OF_THE_PUSHER, "push.db-journal", "lost+found")
"""Names that may be beside a history in its own directory or disk."""


def foreign(history: str, account: Account) -> list[str]:
    """The state directory and its files that the account cannot write. Needs root for another account.

    A result is tested again after a moment: SQLite removes -wal and -shm with the last connection, and if root creates
    them they belong to root until SQLite gives them to the history's owner.
    """
    found = not_writable(account, [path for path in _paths(history) if os.path.lexists(path)])
    if found:
        time.sleep(_MOMENT)
        found = not_writable(account, [path for path in found if os.path.lexists(path)])
    return found


def give(history: str, paths: list[str], account: Account) -> Iterator[str]:
    """Change the owner of each path where this is safe; yields those changed. Root only. Raises OSError.

    Never follows links or changes files with hard links: the service's user may have created these names to get
    ownership of other files. Nor directories with other files than ours.
    """
    for path in paths:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # removed with the last connection
        try:
            info = os.fstat(descriptor)
            if _may_be_given(history, path, info):
                os.fchown(descriptor, account.uid, account.gid)
                os.fchmod(descriptor, stat.S_IMODE(info.st_mode) | (0o700 if stat.S_ISDIR(info.st_mode) else 0o600))
                yield path
        finally:
            os.close(descriptor)


def can_be_given(history: str, path: str) -> bool:
    """Whether `give` would change it."""
    try:
        return _may_be_given(history, path, os.lstat(path))
    except OSError:
        return False


def _may_be_given(history: str, path: str, info: os.stat_result) -> bool:
    if not stat.S_ISDIR(info.st_mode):
        return stat.S_ISREG(info.st_mode) and info.st_nlink == 1
    if path == units.STATE:
        return True
    own, names = os.path.basename(os.path.realpath(history)), os.listdir(path)
    return own in names and all(name.startswith(own) or name in _BESIDE for name in names)


def _paths(history: str) -> Iterator[str]:
    """The history's directory and our files in it; other files are ignored."""
    real = os.path.realpath(history)
    directory = os.path.dirname(real)
    yield directory
    yield from (real + suffix for suffix in _SUFFIXES)
    yield from (os.path.join(directory, name) for name in _OF_THE_PUSHER)
