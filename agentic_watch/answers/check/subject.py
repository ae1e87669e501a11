"""Who works with this configuration: the installed service's user, or whoever asks."""

from __future__ import annotations

import os
import pwd
import time

from agentic_watch.answers.check.finding import Subject
from agentic_watch.config import Config, ConfigError, NoRootsError, Overrides
from agentic_watch.service import deploy, units
from agentic_watch.service.deploy import Deployment
from agentic_watch.service.service_user import Account, NoSuchAccount, group_name


def subject(config: Config) -> Subject:
    """What is to be checked under this configuration, here and now."""
    deployment = installed()
    if deployment is not None and deployment.config.history == config.history and deployment.host.account is not None:
        try:
            account = Account.of(deployment.host.account[0])
        except NoSuchAccount:
            account = _own_account()  # the check of the users names it
        return Subject(config, account, installed=True, now=time.time())
    return Subject(config, _own_account(), installed=False, now=time.time())


def installed() -> Deployment | None:
    """The system's service as it should be, when its unit is in place; None when not, or when nobody can tell."""
    if not os.path.lexists(os.path.join(units.SYSTEM_UNITS, units.SERVICE)):
        return None
    try:
        return deploy.plan(Overrides(), for_user=False, run_as=None)
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
