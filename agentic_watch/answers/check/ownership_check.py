"""Whose are the history and what lies beside it? Can the user that works with them write them?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from agentic_watch.answers.check.finding import Finding, Subject
from agentic_watch.answers.check.subject import belongs_to
from agentic_watch.service import service_user, state_owner

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
        costs = ", so no row comes" if path in state_owner.needed(history) else ""
        yield Finding(
            _NAME,
            False,
            f"{path}: {account.name} cannot write it (it is {belongs_to(info.st_uid, info.st_gid)}){costs}",
            f"chown {account.name}:{account.group} {path}, or agentic-watch check --repair as root",
        )
    if not foreign and os.path.lexists(history):
        yield Finding(_NAME, True, f"{history}: {account.name} can write it")


def mend(subject: Subject) -> None:
    """Give what the user cannot write to it; only root can. Raises OSError."""
    if os.geteuid() == 0:
        for _ in state_owner.give(state_owner.foreign(subject.config.history, subject.account), subject.account):
            pass
