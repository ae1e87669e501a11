"""Explains why the service's user cannot write below a root, with the commands that fix it."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from agentic_watch.service import units
from agentic_watch.service.service_user import Account, group_name, not_entered, not_writable

RESTART = f"systemctl restart {units.SERVICE.removesuffix('.service')}"


@dataclass(frozen=True, slots=True)
class Closed:
    """A directory that the service's user cannot write: `cause` follows the path and a colon in messages; `step` is a
    command for root."""

    path: str
    cause: str
    step: str


def closed(
    account: Account, running: Account | None, root: str, directories: Sequence[str], *, least: int = 1
) -> Closed | None:
    """One of the directories below a root that the service's user cannot write; None unless enough of them are closed.

    `running` is the user with the running daemon's groups, None when none runs. Only for root and that user.
    """
    regrouped = running is not None and set(running.groups) != set(account.groups)
    shut = not_writable(account, directories)
    if len(shut) >= least:
        return _explained(account, shut[0], root)
    if running is not None and regrouped and len(shut := not_writable(running, directories)) >= least:
        cause = f"{account.name} may write there, but the daemon runs with the groups that it had before"
        return Closed(shut[0], cause, RESTART)
    return None


def open_for(user: str, root: str) -> str:
    """The command that gives a user access to a root and everything created in it later by any user."""
    return f"setfacl -R -m u:{user}:rwX -m d:u:{user}:rwX {shlex.quote(root)}"


def _explained(account: Account, path: str, root: str) -> Closed:
    user = account.name
    shut = not_entered(account, [*_above(root), *_between(root, path)])
    where = shut[0] if shut else path
    if shut and not units.is_below(where, (root,)):
        cause = f"{user} cannot enter {where}, which lies above it"
        return Closed(path, cause, f"setfacl -m u:{user}:x {shlex.quote(where)}")
    if os.statvfs(where).f_flag & os.ST_RDONLY:
        return Closed(where, "is mounted read-only", "mount it writable")
    info = os.stat(where)
    mode, group = stat.S_IMODE(info.st_mode), group_name(info.st_gid)
    cannot = f"{user} cannot {'enter' if shut else 'write'} it"
    if info.st_uid == account.uid:
        return Closed(
            where,
            f"{cannot}: its owner has no write permission (mode {mode:04o})",
            f"chmod -R u+rwX {shlex.quote(root)}",
        )
    if info.st_gid in account.groups:
        cause = f"{cannot}: its group {group} may not (mode {mode:04o}), so it was made with another umask than 0002"
        return Closed(where, cause, open_for(user, root))
    # No user should be added to root's group.
    if mode & 0o030 == 0o030 and info.st_gid:
        return Closed(
            where, f"{cannot}: {user} is not in its group {group}", f"{_join(account, info.st_gid)} && {RESTART}"
        )
    cause = f"{cannot}: it is for its owner and its group {group} only (mode {mode:04o})"
    return Closed(where, cause, open_for(user, root))


def _above(root: str) -> list[str]:
    """The parent directories of a root from `/`, and the root."""
    parts = root.strip("/").split("/")
    return ["/", *("/" + "/".join(parts[:count]) for count in range(1, len(parts) + 1))]


def _between(root: str, path: str) -> list[str]:
    """The directories from a root down to `path`, inclusive."""
    parts = [part for part in path.removeprefix(root).split("/") if part]
    return [os.path.join(root, *parts[:count]) for count in range(1, len(parts) + 1)]


def _join(account: Account, gid: int) -> str:
    """The command that adds the user to a group."""
    group, make = group_name(gid), ""
    if group == str(gid):  # usermod needs a name
        group = f"agents-{gid}"
        make = f"groupadd --gid {gid} {group} && "
    return f"{make}usermod -aG {group} {account.name}"
