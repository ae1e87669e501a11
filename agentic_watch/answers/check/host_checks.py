"""Checks of the host: the clock is later than every recorded time, there is free space (blocks and inodes for the
history and each root), and the kernel's limits suffice (inotify watches and instances, open files).
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from agentic_watch import counted
from agentic_watch.answers.check.check_result import CheckResult, Subject
from agentic_watch.config import Root
from agentic_watch.daemon.daemon_state import DaemonState, Liveness, pulse
from agentic_watch.history import HistoryError, opening
from agentic_watch.scan import RootUnavailable, scan
from agentic_watch.watch import inotify_limit
from agentic_watch.workspace import instant

_CLOCK = "clock"
_SLACK_SECONDS = 300.0
_NEWEST = "SELECT committed_at FROM dispatch_history ORDER BY id DESC LIMIT 1"


def clock(subject: Subject) -> Iterator[CheckResult]:
    """A clock that was set back makes new commits look older than existing ones."""
    told = list(_times(subject.config.history))
    newest = max(told, default=0.0)
    now = instant.now_text(subject.now)
    if newest > subject.now + _SLACK_SECONDS:
        text = f"the clock says {now}, and the history was last written {instant.now_text(newest)}"
        yield CheckResult(_CLOCK, False, text, "set it (timedatectl set-ntp true)")
    else:
        yield CheckResult(_CLOCK, True, f"{now}, later than every recorded time")


def _times(history: str) -> Iterator[float]:
    try:
        yield os.stat(history).st_mtime
        with opening.reading(history) as connection:
            for (text,) in connection.execute(_NEWEST):
                yield instant.parse(text).ns / 1e9
    except (OSError, HistoryError, ValueError):
        return


_SPACE = "space"
_LEAST_BYTES = 100 << 20
_LEAST_SHARE = 0.01


def space(subject: Subject) -> Iterator[CheckResult]:
    """At least 100 MiB and 1 % of the inodes must be free for the daemon's user (without root's reserve).

    Some file systems do not say how much they have: 0 in all.
    """
    low = False
    seen: set[int] = set()
    for path in (os.path.dirname(subject.config.history), *(root.path for root in subject.config.roots)):
        try:
            device, room = os.stat(path).st_dev, os.statvfs(path)
        except OSError:
            continue  # reported by the checks of the roots and the history
        if device in seen:
            continue
        seen.add(device)
        free = room.f_bavail * room.f_frsize
        if room.f_blocks and free < _LEAST_BYTES:
            low = True
            yield CheckResult(_SPACE, False, f"{path}: {free >> 20} MiB are free", "free disk space there")
        if room.f_files and room.f_favail < _LEAST_SHARE * room.f_files:
            low = True
            yield CheckResult(
                _SPACE, False, f"{path}: {room.f_favail} of {room.f_files} inodes are free", "remove files"
            )
    if not low:
        yield CheckResult(_SPACE, True, f"{counted(len(seen), 'file system')}, enough free space")


_LIMITS = "limits"
_WATCHES_EACH = 2
_INSTANCE = "anon_inode:inotify"
"""Target of an inotify instance's link in /proc/PID/fd (proc(5))."""


def limits(subject: Subject) -> Iterator[CheckResult]:
    """Per user: about two inotify watches per workspace and one instance; open files for a whole batch."""
    how, state = pulse(subject.config.history)
    running = state if how is Liveness.RUNNING else None
    if any(root.watch != "poll" for root in subject.config.roots):
        yield _watches(subject.config.roots)
        yield _instances(subject, running)
    if running is not None:
        yield from _files(running)


def _watches(roots: tuple[Root, ...]) -> CheckResult:
    """When watches run out, the least active workspaces are not watched."""
    name = "max_user_watches"
    if (limit := inotify_limit(name)) is None:
        return _untold(name)
    need = _WATCHES_EACH * sum(map(_workspaces, roots))
    if need <= limit:
        return CheckResult(_LIMITS, True, f"fs.inotify.{name}: {limit}, about {need} needed")
    text = f"fs.inotify.{name}: is {limit}, the workspaces here need about {need}"
    return CheckResult(_LIMITS, False, text, _raise(name, 2 * need))


def _instances(subject: Subject, running: DaemonState | None) -> CheckResult:
    """The daemon needs one; without it all roots are polled."""
    name, account = "max_user_instances", subject.account
    if (limit := inotify_limit(name)) is None:
        return _untold(name)
    if running is not None and any(root.watching == "inotify" for root in running.roots):
        return CheckResult(_LIMITS, True, f"fs.inotify.{name}: {limit}, the daemon uses 1")
    if os.geteuid() not in (0, account.uid):
        return CheckResult(
            _LIMITS, None, f"fs.inotify.{name}: {limit}; run as root to see how many {account.name} uses"
        )
    used = _instances_of(account.uid)
    if used < limit:
        return CheckResult(_LIMITS, True, f"fs.inotify.{name}: {limit}, {account.name} uses {used}")
    text = f"fs.inotify.{name}: is {limit}, and {account.name} uses {used}: none is left for the daemon, so it polls"
    return CheckResult(_LIMITS, False, text, _raise(name, 2 * limit))


def _files(running: DaemonState) -> Iterator[CheckResult]:
    """A lower limit makes batches smaller, and a very low one prevents commits."""
    try:
        with open(f"/proc/{running.pid}/limits", encoding="ascii") as file:
            (line,) = (line for line in file if line.startswith("Max open files"))
        limit = int(line.split()[3])
    except (OSError, ValueError):  # the process ended, or /proc of other users is hidden
        return
    from agentic_watch.commit.batches import FILES_WANTED  # late: `check --quick` does not need it

    if limit >= FILES_WANTED:
        yield CheckResult(_LIMITS, True, f"open files: {limit} for the daemon (pid {running.pid})")
        return
    text = f"open files: the daemon (pid {running.pid}) is limited to {limit} and needs {FILES_WANTED}"
    yield CheckResult(_LIMITS, False, text, "LimitNOFILE=16384 in its unit, or ulimit -n, and start it again")


def _untold(name: str) -> CheckResult:
    return CheckResult(_LIMITS, None, f"fs.inotify.{name}: cannot be read here")


def _raise(name: str, to: int) -> str:
    return f"sysctl fs.inotify.{name}={to}, and into /etc/sysctl.d"


def _workspaces(root: Root) -> int:
    if root.watch == "poll":
        return 0
    try:
        return sum(1 for _ in scan(root))
    except RootUnavailable:
        return 0


def _instances_of(uid: int) -> int:
    """Number of inotify instances of a user's processes, as far as they are visible."""
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        directory = f"/proc/{name}/fd"
        try:
            if os.stat(directory).st_uid == uid:
                count += sum(_leads_to(f"{directory}/{one}") == _INSTANCE for one in os.listdir(directory))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # the process ended, or is hidden even from its own user (prctl(2), PR_SET_DUMPABLE)
    return count


def _leads_to(descriptor: str) -> str:
    try:
        return os.readlink(descriptor)
    except (FileNotFoundError, ProcessLookupError):
        return ""
