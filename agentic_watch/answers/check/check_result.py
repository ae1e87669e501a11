"""Who works with this configuration: the installed service's user, or whoever asks.

What a check says: well, not well, or not to be known, in one line with cause and next step.
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
"""What cannot be committed for so long is for an operator to see to."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """`ok`: True, all is well; False, an operator must act, and `next_step` says how; None, it cannot be known.

    `text` is one line that begins with a path or a name. `root` and `workspace` when it is about one; `repaired`
    says that it was so and is no more. `missing_line` is the identity (`updated_utc`, runs) of a row without its line.
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
    """What is looked at: a configuration, the user that works with it, and the time (seconds since the epoch).

    `installed`: the system's units are in place for this history. The configuration's roots are those that answer;
    `silent` are the keys of the others, with what does not answer.
    """

    config: Config
    account: Account
    installed: bool
    now: float
    silent: Mapping[str, str] = field(default_factory=dict)

    @property
    def patience(self) -> float:
        """Seconds in which the daemon, when all is well, has committed what is finished."""
        return 5 * self.config.settle_seconds + self.config.reconcile_seconds


Check = Callable[[Subject], Iterable[CheckResult]]
"""One thing that is checked. It changes nothing; a history that this program may not touch ends it (HistoryRefused)."""


def checked(subject: Subject, checks: Iterable[Check]) -> Iterator[CheckResult]:
    """What each of the checks finds, as it comes."""
    for check in checks:
        yield from check(subject)


def is_well(findings: Iterable[CheckResult]) -> bool:
    """Whether no operator is needed."""
    return all(finding.ok is not False or finding.repaired for finding in findings)


def subject(config: Config) -> Subject:
    """What is to be checked under this configuration, here and now."""
    unit, account = loaded(), _own_account()
    is_installed = unit is not None and _works_with(unit, config.history)
    if unit is not None and is_installed:
        with suppress(NoSuchAccount):  # the check of the users names it
            account = unit.account()
    lost = unanswered(root.path for root in config.roots)
    silent = {root.key: lost[root.path] for root in config.roots if root.path in lost}
    answering = config._replace(roots=tuple(root for root in config.roots if root.key not in silent))
    return Subject(answering, account, is_installed, time.time(), silent)


def _works_with(unit: Loaded, history: str) -> bool:
    """Whether the unit's daemon would commit into this history."""
    try:
        return install_plan.as_the_service(unit.said.overrides()).history == history
    except (ConfigError, NoRootsError):
        return False


def installed() -> Deployment | None:
    """The system's service as it should be, when its unit is in place; None when not, or when nobody can tell."""
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
    """`user:group` for a message, numbers where there is no name."""
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return f"{user}:{group_name(gid)}"
