"""Whose are the history and what lies beside it? Can the user that works with them write them?

The clock: does it say a time after all that is recorded?

Room for what is to be written: blocks and inodes below the history and each root.

The roots: writable for the user that commits, with the groups that the daemon has and those it will have.

The roots: are they there?

The configuration: is it one that the daemon would start with, and does this installation have what it asks for?
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from agentic_watch.answers.answer_shape import counted
from agentic_watch.answers.check.check_result import CheckResult, Subject, belongs_to
from agentic_watch.answers.check.check_result import subject as subject_of
from agentic_watch.config import Config, ConfigError, Root
from agentic_watch.daemon.daemon_state import Liveness, pulse
from agentic_watch.history import HistoryError, opening
from agentic_watch.host.extras import how_to_add, is_installed
from agentic_watch.inventory.renamed_roots import refuse_renamed
from agentic_watch.service import install_plan, root_access, service_user
from agentic_watch.service.root_access import Closed
from agentic_watch.service.service_user import Account
from agentic_watch.workspace import instant
from agentic_watch.workspace.candidate import Candidate

_CLOCK = "clock"
_SLACK_SECONDS = 300.0
_NEWEST = "SELECT committed_at FROM dispatch_history ORDER BY id DESC LIMIT 1"


def clock(subject: Subject) -> Iterator[CheckResult]:
    """A clock that was set back makes new commits look older than old ones."""
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
    """At least 100 MiB and 1 % of the inodes, for the daemon's user (not root's reserve)."""
    low = False
    seen: set[int] = set()
    for path in (os.path.dirname(subject.config.history), *(root.path for root in subject.config.roots)):
        try:
            device, room = os.stat(path).st_dev, os.statvfs(path)
        except OSError:
            continue  # the checks of the roots and the history name it
        if device in seen:
            continue
        seen.add(device)
        free = room.f_bavail * room.f_frsize
        if free < _LEAST_BYTES:
            low = True
            yield CheckResult(_SPACE, False, f"{path}: {free >> 20} MiB are free", "free disk space there")
        if room.f_files and room.f_favail < _LEAST_SHARE * room.f_files:
            low = True
            yield CheckResult(
                _SPACE, False, f"{path}: {room.f_favail} of {room.f_files} inodes are free", "remove files"
            )
    if not low:
        yield CheckResult(_SPACE, True, f"{counted(len(seen), 'file system')}, enough free space")


_ROOTS = "roots"
_NEWEST_COMMITS = "SELECT root, workspace FROM dispatch_history ORDER BY id DESC LIMIT 64"


def roots_writable(subject: Subject) -> Iterator[CheckResult]:
    """As the user itself, in the directories that the newest dispatches on disk are committed to: all must be open."""
    running = running_account(subject)
    for root in subject.config.roots:
        if os.path.isdir(root.path):
            yield _finding(subject, root, running, install_plan.samples(root), least=1)


def roots_open(subject: Subject) -> Iterator[CheckResult]:
    """The same in a probe's time, by the newest commits. All of them must be closed before an operator is needed: an
    agent may close its own."""
    try:
        with opening.reading(subject.config.history) as connection:
            newest = list(connection.execute(_NEWEST_COMMITS))
    except HistoryError:
        newest = []  # the check of what waits says why
    running = running_account(subject)
    for root in subject.config.roots:
        if os.path.isdir(root.path):
            directories = install_plan.written_to(root, [name for key, name in newest if key == root.key])
            yield _finding(subject, root, running, directories, least=len(directories))


def running_account(subject: Subject) -> Account | None:
    """The user of the daemon that runs, when it is the one that should: its groups are those of its start."""
    how, state = pulse(subject.config.history)
    if how is not Liveness.RUNNING or state is None:
        return None
    running = service_user.of_process(state.pid, subject.account.name)
    return running if running is not None and running.uid == subject.account.uid else None


def closed_to_service(config: Config, candidate: Candidate) -> Closed | None:
    """What keeps the service's user out of a workspace; None also when this user may not ask for it."""
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
    """A root that is not there is waited for, and what would be in it is not seen."""
    for key, path in subject.silent.items():
        step = "see to its server, or unmount it; nothing in this root is checked until it answers"
        yield CheckResult(_ROOTS, False, f"{path}: does not answer", step, root=key)
    for root in subject.config.roots:
        try:
            os.close(os.open(root.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except PermissionError:
            yield CheckResult(_ROOTS, None, f"{root.path}: this user may not look into it", root=root.key)
        except OSError as error:
            step = "mount or make it, or take it out of the configuration"
            yield CheckResult(_ROOTS, False, f"{root.path}: {error.strerror}", step, root=root.key)


_OWNER = "ownership"


def ownership(subject: Subject) -> Iterator[CheckResult]:
    """The state directory, the history, its -wal and -shm, and whatever else lies beside it."""
    account, history = subject.account, subject.config.history
    if not service_user.can_be_asked(account):
        yield CheckResult(
            _OWNER, None, f"{history}: run as root or {account.name} to see whether {account.name} can write it"
        )
        return
    foreign = service_user.foreign(history, account)
    for path in foreign:
        info = os.lstat(path)
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
            "it holds other things, too, so give the history a directory of its own and name it in [history] path: "
            f"install -d -o {account.name} -g {account.group} -m 750 {own}"
        )
    return (
        "look at it: it is a symbolic link or has a second hard link, so --repair leaves it as it is; then "
        f"chown {account.name} {path}"
    )


def mend(subject: Subject) -> None:
    """Give what the user cannot write to it; only root can. Raises OSError."""
    if os.geteuid() == 0:
        history = subject.config.history
        for _ in service_user.give(history, service_user.foreign(history, subject.account), subject.account):
            pass


_NAME = "configuration"
_DRIVERS = {"postgres": "psycopg", "http": "httpx"}


def configuration(subject: Subject) -> Iterator[CheckResult]:
    """It was read without an error; is each root known to the history by the key that it has now?"""
    file = subject.config.file or "no file; flags and environment"
    try:
        refuse_renamed(subject.config)
    except ConfigError as error:
        yield CheckResult(_NAME, False, str(error), "correct it; the daemon would not start (exit status 78)")
        return
    yield CheckResult(_NAME, True, f"{file}: {counted(len(subject.config.roots), 'root')}")
    for text, extra in lacking(subject.config):
        yield CheckResult(_NAME, False, text, how_to_add(extra))


def lacking(config: Config) -> Iterator[tuple[str, str]]:
    """What the configuration asks for and this installation lacks, in words, and the name of the extra."""
    if config.metrics != type(config.metrics)() and not is_installed("prometheus_client"):
        yield "[metrics] needs prometheus_client, which is not installed: there are no metrics", "metrics"
    for kind in sorted({target.kind for target in config.push}):
        if not is_installed(_DRIVERS[kind]):
            yield f"[[push]] of kind {kind} needs {_DRIVERS[kind]}, which is not installed: nothing is pushed", "fleet"


def metrics_file(subject: Subject) -> Iterator[CheckResult]:
    """The directory of the metrics' file: Debian's, for one, is root's."""
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
