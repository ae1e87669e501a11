"""The roots: writable for the user that commits."""

from __future__ import annotations

import os
from collections.abc import Iterator

from agentic_watch.answers.check.finding import Finding, Subject
from agentic_watch.service import deploy, service_user

_NAME = "roots"


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
