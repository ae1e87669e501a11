"""Checks of access: whether the roots exist, whether the committing user can write to them (with the daemon's current
groups and those after a restart), and who owns the history, the files beside it and the metrics file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from agentic_watch.answers.check.check_result import CheckResult, Subject, belongs_to
from agentic_watch.answers.check.check_result import subject as subject_of
from agentic_watch.config import Config, Root
from agentic_watch.daemon.daemon_state import Liveness, pulse
from agentic_watch.history import HistoryError, opening
from agentic_watch.service import install_plan, root_access, service_user
from agentic_watch.service.root_access import Closed
from agentic_watch.service.service_user import Account
from agentic_watch.workspace.candidate import Candidate

_ROOTS = "roots"
_NEWEST_COMMITS = "SELECT root, workspace FROM dispatch_history ORDER BY id DESC LIMIT 64"


def roots_writable(subject: Subject) -> Iterator[CheckResult]:
    """Tests, as the user itself, the directories of the newest dispatches on disk: all must be writable."""
    running = running_account(subject)
    for root in subject.config.roots:
        if os.path.isdir(root.path):
            yield _finding(subject, root, running, install_plan.samples(root), least=1)


def roots_open(subject: Subject) -> Iterator[CheckResult]:
    """A faster version for `--quick`, by the newest commits. A problem only if none of them is writable, since an agent
    can revoke access to its own workspace."""
    try:
        with opening.reading(subject.config.history) as connection:
            newest = list(connection.execute(_NEWEST_COMMITS))
    except HistoryError:
        newest = []  # the check `waiting` reports the reason
    running = running_account(subject)
    for root in subject.config.roots:
        if os.path.isdir(root.path):
            directories = install_plan.written_to(root, [name for key, name in newest if key == root.key])
            yield _finding(subject, root, running, directories, least=len(directories))


def running_account(subject: Subject) -> Account | None:
    """The account of the running daemon, if it is the expected user; its groups are those of its start."""
    how, state = pulse(subject.config.history)
    if how is not Liveness.RUNNING or state is None:
        return None
    running = service_user.of_process(state.pid, subject.account.name)
    return running if running is not None and running.uid == subject.account.uid else None


def closed_to_service(config: Config, candidate: Candidate) -> Closed | None:
    """What prevents the service's user from writing to a workspace; None also when this user may not test it."""
    about = subject_of(config)
    if not about.installed or not service_user.can_be_asked(about.account):
        return None
    directories = install_plan.written_to(candidate.root, [candidate.name])
    return root_access.closed(about.account, running_account(about), candidate.root.path, directories)


def _finding(
    subject: Subject, root: Root, running: Account | None, directories: Sequence[str], *, least: int
) -> CheckResult:
    account = subject.account
    if not service_user.can_be_asked(account):
        text = f"{root.path}: run as root or {account.name} to see whether {account.name} can write there"
        return CheckResult(_ROOTS, None, text, root=root.key)
    if found := root_access.closed(account, running, root.path, directories, least=least):
        text = f"{found.path}: {found.cause}, so nothing in it will be committed"
        return CheckResult(_ROOTS, False, text, found.step, root=root.key)
    return CheckResult(_ROOTS, True, f"{root.path}: {account.name} can write there", root=root.key)


def roots_there(subject: Subject) -> Iterator[CheckResult]:
    """Whether each root exists and answers."""
    for key, path in subject.silent.items():
        step = "check its server, or unmount it; nothing in this root is checked until it answers"
        yield CheckResult(_ROOTS, False, f"{path}: does not answer", step, root=key)
    for root in subject.config.roots:
        try:
            os.close(os.open(root.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except PermissionError:
            yield CheckResult(_ROOTS, None, f"{root.path}: this user has no permission to read it", root=root.key)
        except OSError as error:
            step = "mount or create it, or remove it from the configuration"
            yield CheckResult(_ROOTS, False, f"{root.path}: {error.strerror}", step, root=root.key)


_OWNER = "ownership"


def ownership(subject: Subject) -> Iterator[CheckResult]:
    """Whether the user can write the state directory, the history, its -wal and -shm, and the other files beside it."""
    account, history = subject.account, subject.config.history
    if not service_user.can_be_asked(account):
        yield CheckResult(
            _OWNER, None, f"{history}: run as root or {account.name} to see whether {account.name} can write it"
        )
        return
    foreign = service_user.foreign(history, account)
    for path in foreign:
        try:
            info = os.lstat(path)
        except FileNotFoundError:
            continue  # SQLite removed it with the last connection
        owner = belongs_to(info.st_uid, info.st_gid)
        text = f"{path}: {account.name} cannot write it (it is {owner}), so {_loss(history, path)}"
        yield CheckResult(_OWNER, False, text, _next_step(history, path, account))
    if not foreign and os.path.lexists(history):
        yield CheckResult(_OWNER, True, f"{history}: {account.name} can write it")


def _loss(history: str, path: str) -> str:
    if path.endswith((".daemon", ".cookie")):
        return "no daemon starts"
    ours = os.path.realpath(history)
    return "no row comes" if path.startswith(ours) or path == os.path.dirname(ours) else "nothing is pushed"


def _next_step(history: str, path: str, account: Account) -> str:
    if service_user.can_be_given(history, path):
        return f"chown {account.name}:{account.group} {path}, or agentic-watch check --repair as root"
    if os.path.isdir(path):
        own = os.path.join(path, "agentic-watch")
        return (
            "it has other files too, so give the history its own directory and set it in [history] path: "
            f"install -d -o {account.name} -g {account.group} -m 750 {own}"
        )
    return (
        "inspect it: it is a symbolic link or has a second hard link, so --repair does not change it; then "
        f"chown {account.name} {path}"
    )


def mend(subject: Subject) -> None:
    """Change the owner of files that the user cannot write; only root can. Raises OSError."""
    if os.geteuid() == 0:
        history = subject.config.history
        for _ in service_user.give(history, service_user.foreign(history, subject.account), subject.account):
            pass


def metrics_file(subject: Subject) -> Iterator[CheckResult]:
    """Whether the user can write the directory of the metrics file, which belongs to root on Debian."""
    file, account = subject.config.metrics.textfile, subject.account
    if file is None or not service_user.can_be_asked(account):
        return
    directory = os.path.dirname(file)
    if not os.path.isdir(directory):
        yield CheckResult(
            "metrics", False, f"{directory}: is not there, so {file} is not written", "make it, or name another"
        )
    elif service_user.not_writable(account, [directory]):
        text = f"{directory}: {account.name} cannot write there, so {file} is not written"
        yield CheckResult("metrics", False, text, f"setfacl -m u:{account.name}:rwx {directory}")
    else:
        yield CheckResult("metrics", True, f"{directory}: {account.name} can write there")
