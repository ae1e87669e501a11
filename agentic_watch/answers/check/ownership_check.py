"""Whose are the history and what lies beside it? Can the user that works with them write them?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from agentic_watch.answers.check.finding import Finding, Subject
from agentic_watch.answers.check.subject import belongs_to
from agentic_watch.service import service_user, state_owner
from agentic_watch.service.service_user import Account

_NAME = "ownership"


def ownership(subject: Subject) -> Iterator[Finding]:
    """The state directory, the history, its -wal and -shm, and whatever else lies beside it."""
    account, history = subject.account, subject.config.history
    if not service_user.can_be_asked(account):
        yield Finding(_NAME, None, f"{history}: whether {account.name} can write it is told to root and {account.name}")
        return
    foreign = state_owner.foreign(history, account)
    for path in foreign:
        info = os.lstat(path)
        owner = belongs_to(info.st_uid, info.st_gid)
        text = f"{path}: {account.name} cannot write it (it is {owner}), so {_loss(history, path)}"
        yield Finding(_NAME, False, text, _next_step(history, path, account))
    if not foreign and os.path.lexists(history):
        yield Finding(_NAME, True, f"{history}: {account.name} can write it")


def _loss(history: str, path: str) -> str:
    if path.endswith((".daemon", ".cookie")):
        return "no daemon starts"
    ours = os.path.realpath(history)
    return "no row comes" if path.startswith(ours) or path == os.path.dirname(ours) else "nothing is pushed"


def _next_step(history: str, path: str, account: Account) -> str:
    if state_owner.can_be_given(history, path):
        return f"chown {account.name}:{account.group} {path}, or agentic-watch check --repair as root"
    if os.path.isdir(path):
        own = os.path.join(path, "agentic-watch")
        return (
            "it holds other things, too, so give the history a directory of its own and name it in [history] path: "
            f"install -d -o {account.name} -g {account.group} -m 750 {own}"
        )
    return (
        f"look at it: it is a link or has a second name, so that --repair leaves it; then chown {account.name} {path}"
    )


def mend(subject: Subject) -> None:
    """Give what the user cannot write to it; only root can. Raises OSError."""
    if os.geteuid() == 0:
        history = subject.config.history
        for _ in state_owner.give(history, state_owner.foreign(history, subject.account), subject.account):
            pass
