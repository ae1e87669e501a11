"""The roots: writable for the user that commits, and within the host's limits."""

from __future__ import annotations

import os
from collections.abc import Iterator

from agentic_watch.answers.check.finding import Finding, Subject
from agentic_watch.config import Root
from agentic_watch.scan import RootUnavailable, scan
from agentic_watch.service import deploy, service_user

_NAME = "roots"
_WATCHES = "/proc/sys/fs/inotify/max_user_watches"
_WATCHES_EACH = 2


def roots_writable(subject: Subject) -> Iterator[Finding]:
    """As the user itself, in the directories that a commit would write to."""
    account = subject.account
    for root in subject.config.roots:
        if not os.path.isdir(root.path):
            continue
        if not service_user.can_be_asked(account):
            text = f"{root.path}: whether {account.name} can write there is told to root and {account.name}"
            yield Finding(_NAME, None, text, root=root.key)
        elif closed := service_user.not_writable(account, deploy.samples(root)):
            commands = " && ".join(service_user.remedy(account, closed[0], root.path))
            text = f"{closed[0]}: {account.name} cannot write there, so nothing in it will be committed"
            yield Finding(_NAME, False, text, commands, root=root.key)
        else:
            yield Finding(_NAME, True, f"{root.path}: {account.name} can write there", root=root.key)


def watch_limit(subject: Subject) -> Iterator[Finding]:
    """About two watches a workspace, of those that one user may have; the coldest go without when they end."""
    try:
        with open(_WATCHES, encoding="ascii") as file:
            limit = int(file.read())
    except (OSError, ValueError):
        yield Finding("limits", None, f"{_WATCHES}: cannot be read here")
        return
    need = _WATCHES_EACH * sum(map(_workspaces, subject.config.roots))
    if need > limit:
        text = f"fs.inotify.max_user_watches: is {limit}, the workspaces here want about {need}"
        yield Finding("limits", False, text, f"sysctl fs.inotify.max_user_watches={2 * need}, and into /etc/sysctl.d")
    else:
        yield Finding("limits", True, f"fs.inotify.max_user_watches: {limit}, about {need} wanted")


def _workspaces(root: Root) -> int:
    if root.watch == "poll":
        return 0
    try:
        return sum(1 for _ in scan(root))
    except RootUnavailable:
        return 0
