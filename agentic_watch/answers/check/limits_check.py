"""The host's limits against what the daemon needs: inotify watches and instances, open files."""

from __future__ import annotations

import os
from collections.abc import Iterator

from agentic_watch.answers.check.finding import Finding, Subject
from agentic_watch.commit import batch
from agentic_watch.config import Root
from agentic_watch.daemon.instance import Pulse, pulse
from agentic_watch.daemon.state_file import DaemonState
from agentic_watch.scan import RootUnavailable, scan

_NAME = "limits"
_SYSCTLS = "/proc/sys/fs/inotify"
_WATCHES_EACH = 2
_INSTANCE = "anon_inode:inotify"
"""Where a descriptor of an inotify instance leads (proc(5))."""


def limits(subject: Subject) -> Iterator[Finding]:
    """About two watches a workspace and one instance, of those that one user may have; files for a whole batch."""
    how, state = pulse(subject.config.history)
    running = state if how is Pulse.RUNNING else None
    if any(root.watch != "poll" for root in subject.config.roots):
        yield _watches(subject.config.roots)
        yield _instances(subject, running)
    if running is not None:
        yield from _files(running)


def _watches(roots: tuple[Root, ...]) -> Finding:
    """The coldest workspaces go without when the watches end."""
    name = "max_user_watches"
    if (limit := _sysctl(name)) is None:
        return _untold(name)
    need = _WATCHES_EACH * sum(map(_workspaces, roots))
    if need <= limit:
        return Finding(_NAME, True, f"fs.inotify.{name}: {limit}, about {need} needed")
    text = f"fs.inotify.{name}: is {limit}, the workspaces here need about {need}"
    return Finding(_NAME, False, text, _raise(name, 2 * need))


def _instances(subject: Subject, running: DaemonState | None) -> Finding:
    """One a daemon; without it all roots are polled."""
    name, account = "max_user_instances", subject.account
    if (limit := _sysctl(name)) is None:
        return _untold(name)
    if running is not None and any(root.watching == "inotify" for root in running.roots):
        return Finding(_NAME, True, f"fs.inotify.{name}: {limit}, the daemon uses 1")
    if os.geteuid() not in (0, account.uid):
        return Finding(_NAME, None, f"fs.inotify.{name}: {limit}; run as root to see how many {account.name} uses")
    used = _instances_of(account.uid)
    if used < limit:
        return Finding(_NAME, True, f"fs.inotify.{name}: {limit}, {account.name} uses {used}")
    text = f"fs.inotify.{name}: is {limit}, and {account.name} uses {used}: none is left for the daemon, so it polls"
    return Finding(_NAME, False, text, _raise(name, 2 * limit))


def _files(running: DaemonState) -> Iterator[Finding]:
    """A lower limit makes smaller batches, and in the end none."""
    try:
        with open(f"/proc/{running.pid}/limits", encoding="ascii") as file:
            (line,) = (line for line in file if line.startswith("Max open files"))
        limit = int(line.split()[3])
    except (OSError, ValueError):  # it has ended, or another user's /proc is hidden
        return
    if limit >= batch.FILES_WANTED:
        yield Finding(_NAME, True, f"open files: {limit} for the daemon (pid {running.pid})")
        return
    text = f"open files: the daemon (pid {running.pid}) may have {limit}, and wants {batch.FILES_WANTED}"
    yield Finding(_NAME, False, text, "LimitNOFILE=16384 in its unit, or ulimit -n, and start it again")


def _sysctl(name: str) -> int | None:
    try:
        with open(os.path.join(_SYSCTLS, name), encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def _untold(name: str) -> Finding:
    return Finding(_NAME, None, f"fs.inotify.{name}: cannot be read here")


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
    """How many inotify instances those of a user's processes have that this one may look at."""
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        directory = f"/proc/{name}/fd"
        try:
            if os.stat(directory).st_uid == uid:
                count += sum(_leads_to(f"{directory}/{one}") == _INSTANCE for one in os.listdir(directory))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or is hidden even from its own user (prctl(2), PR_SET_DUMPABLE)
    return count


def _leads_to(descriptor: str) -> str:
    try:
        return os.readlink(descriptor)
    except (FileNotFoundError, ProcessLookupError):
        return ""
