"""The result of a check (ok, problem or unknown, in one line with cause and next step) and its subject: the
configuration, and the user who works with it.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from agentic_watch.config import Config, ConfigError, NoRootsError
from agentic_watch.host.file_systems import unanswered
from agentic_watch.service import install_plan
from agentic_watch.service.install_plan import Deployment
from agentic_watch.service.service_user import Account, NoSuchAccount, group_name
from agentic_watch.service.systemd import Loaded, loaded

STUCK_SECONDS = 3600.0
"""A workspace that cannot be committed for this long is a problem."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`ok`: True, no problem; False, an operator has to act, as `next_step` says; None, unknown.

    `text` is one line that begins with a path or a name. `root` and `workspace` are set when it concerns one;
    `repaired`: the problem has been fixed. `missing_line` is the identity (`updated_utc`, runs) of a row without its
    line.
    """

    check: str
    ok: bool | None
    text: str
    next_step: str = ""
    root: str = ""
    workspace: str = ""
    repaired: bool = False
    missing_line: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What is checked: a configuration, the user that works with it, and the time (seconds since the epoch).

    `installed`: the system's units are installed for this history. `config.roots` are the roots that answer; `silent`
    maps the keys of the others to what does not answer.
    """

    config: Config
    account: Account
    installed: bool
    now: float
    silent: Mapping[str, str] = field(default_factory=dict)

    @property
    def patience(self) -> float:
        """Seconds within which a working daemon commits a finish."""
        return 5 * self.config.settle_seconds + self.config.reconcile_seconds


Check = Callable[[Subject], Iterable[CheckResult]]
"""A check. It changes nothing, and raises HistoryRefused for a history that must not be used."""


def checked(subject: Subject, checks: Iterable[Check]) -> Iterator[CheckResult]:
    """Yield the results of the checks."""
    for check in checks:
        yield from check(subject)


def is_well(findings: Iterable[CheckResult]) -> bool:
    """Whether there is no problem."""
    return all(finding.ok is not False or finding.repaired for finding in findings)


def subject(config: Config) -> Subject:
    """The subject for this configuration."""
    unit, account = loaded(), _own_account()
    is_installed = unit is not None and _works_with(unit, config.history)
    if unit is not None and is_installed:
        with suppress(NoSuchAccount):  # reported by the check of users
            account = unit.account()
    lost = unanswered(root.path for root in config.roots)
    silent = {root.key: lost[root.path] for root in config.roots if root.path in lost}
    answering = config._replace(roots=tuple(root for root in config.roots if root.key not in silent))
    return Subject(answering, account, is_installed, time.time(), silent)


def _works_with(unit: Loaded, history: str) -> bool:
    """Whether the unit's daemon uses this history."""
    try:
        return install_plan.as_the_service(unit.said.overrides()).history == history
    except (ConfigError, NoRootsError):
        return False


def installed() -> Deployment | None:
    """The system's service as it should be, if its unit is installed; None if not, or if unknown."""
    if (unit := loaded()) is None:
        return None
    try:
        return install_plan.plan(unit.said.overrides(), for_user=False, run_as=unit.user)
    except (ConfigError, NoRootsError, NoSuchAccount):
        return None


def _own_account() -> Account:
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Account(name, uid, os.getegid(), tuple(os.getgroups()))


def belongs_to(uid: int, gid: int) -> str:
    """`user:group` for a message, or numbers without a name."""
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return f"{user}:{group_name(gid)}"
