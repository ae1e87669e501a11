"""What the service would be able to reach: asked before it is started, and of the kernel where that is possible."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import agentic_watch
from agentic_watch.service.units import hidden_by

LINGER = "/var/lib/systemd/linger"
"""A file for each user whose services run without a login: what loginctl enable-linger makes."""

_SECONDS = 60.0
_NOT_WRITABLE = r"""for path; do
    [ -w "$path" ] && { [ ! -d "$path" ] || [ -x "$path" ]; } || printf '%s\0' "$path"
done"""


class NoSuchAccount(Exception):
    """The user, or its group, is not known to the system; the message names it."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user as the kernel sees it: ids, and those of all its groups."""

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
            raise NoSuchAccount(f"{name}: no such user; make it first, or leave --run-as out") from error
        return cls(name, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)))

    @property
    def group(self) -> str:
        """The name of its first group, or the number when that has none."""
        return group_name(self.gid)


def group_name(gid: int) -> str:
    """A group's name, or its number when it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def hidden_program() -> tuple[str, str] | None:
    """(path, setting) of the first part of the running program that the system unit hides, None when none is."""
    package = os.path.dirname(agentic_watch.__file__)
    parts = [sys.executable, sys.prefix, sys.base_prefix, package]
    for part in [*parts, *map(os.path.realpath, parts)]:
        if (setting := hidden_by(part)) is not None:
            return part, setting
    return None


def can_import(account: Account, command: Sequence[str]) -> bool:
    """Whether a user can run the interpreter and read the program (a umask at install may have hidden it)."""
    test = [*command[:-2], "-c", "import agentic_watch.cli"]
    return _as(account, test).returncode == 0


def can_read(account: Account, path: str) -> bool:
    """Whether a user can read a file."""
    return _as(account, ["/bin/sh", "-c", '[ -r "$1" ]', "sh", path]).returncode == 0


def not_writable(account: Account, paths: Sequence[str]) -> list[str]:
    """Those of some files and directories that a user cannot write, by whatever rule (mode, group, ACL, mount)."""
    return _as(account, ["/bin/sh", "-c", _NOT_WRITABLE, "sh", *paths]).stdout.split("\0")[:-1]


def remedy(account: Account, directory: str, root: str) -> tuple[str, str]:
    """The two commands that let a user write below a root of which it cannot write `directory`."""
    gid = os.stat(directory).st_gid
    if gid == 0:  # nobody should be in root's group
        return f"chgrp -R {account.group} {_shell(root)}", f"chmod -R g+rwX {_shell(root)}"
    group, make = group_name(gid), ""
    if group == str(gid):  # usermod takes no number, and other tools show a name
        group = f"agents-{gid}"
        make = f"groupadd --gid {gid} {group} && "
    return f"{make}usermod -aG {group} {account.name}", f"chmod -R g+rwX {_shell(root)}"


def can_be_asked(account: Account) -> bool:
    """Whether this process may find out what that user can reach: as root, or as the user itself."""
    return os.geteuid() in (0, account.uid)


def _as(account: Account, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    become = os.geteuid() == 0
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


def _shell(path: str) -> str:
    import shlex

    return shlex.quote(path)


def lingers(uid: int) -> bool:
    """Whether a user's services run without a login (loginctl(1), enable-linger)."""
    try:
        return os.path.exists(os.path.join(LINGER, pwd.getpwuid(uid).pw_name))
    except KeyError:
        return False
