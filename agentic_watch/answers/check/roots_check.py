"""The roots: writable for the user that commits, with the groups that the daemon has and those it will have."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from agentic_watch.answers.check.finding import Finding, Subject
from agentic_watch.config import Root
from agentic_watch.daemon.instance import Pulse, pulse
from agentic_watch.history import queries
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.service import deploy, root_access, service_user
from agentic_watch.service.service_user import Account

_NAME = "roots"
_NEWEST_COMMITS = "SELECT root, workspace FROM dispatch_history ORDER BY id DESC LIMIT 64"


def roots_writable(subject: Subject) -> Iterator[Finding]:
    """As the user itself, in the directories that the newest dispatches on disk are committed to: all must be open."""
    running = running_account(subject)
    for root in subject.config.roots:
        if os.path.isdir(root.path):
            yield _finding(subject, root, running, deploy.samples(root), least=1)


def roots_open(subject: Subject) -> Iterator[Finding]:
    """The same in a probe's time, by the newest commits. All of them must be closed before an operator is needed: an
    agent may close its own."""
    try:
        with queries.reading(subject.config.history) as connection:
            newest = list(connection.execute(_NEWEST_COMMITS))
    except HistoryError:
        newest = []  # the check of what waits says why
    running = running_account(subject)
    for root in subject.config.roots:
        if os.path.isdir(root.path):
            directories = deploy.written_to(root, [name for key, name in newest if key == root.key])
            yield _finding(subject, root, running, directories, least=len(directories))


def running_account(subject: Subject) -> Account | None:
    """The user of the daemon that runs, when it is the one that should: its groups are those of its start."""
    how, state = pulse(subject.config.history)
    if how is not Pulse.RUNNING or state is None:
        return None
    running = service_user.of_process(state.pid, subject.account.name)
    return running if running is not None and running.uid == subject.account.uid else None


def _finding(
    subject: Subject, root: Root, running: Account | None, directories: Sequence[str], *, least: int
) -> Finding:
    account = subject.account
    if not service_user.can_be_asked(account):
        text = f"{root.path}: whether {account.name} can write there is told to root and {account.name}"
        return Finding(_NAME, None, text, root=root.key)
    if found := root_access.closed(account, running, root.path, directories, least=least):
        text = f"{found.path}: {found.cause}, so nothing in it will be committed"
        return Finding(_NAME, False, text, found.step, root=root.key)
    return Finding(_NAME, True, f"{root.path}: {account.name} can write there", root=root.key)
