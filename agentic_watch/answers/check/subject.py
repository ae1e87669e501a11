"""Who works with this configuration: the installed service's user, or whoever asks."""

from __future__ import annotations

import os
import pwd
import time
from contextlib import suppress
from dataclasses import replace

from agentic_watch.answers.check.finding import Subject
from agentic_watch.config import Config, ConfigError, NoRootsError
from agentic_watch.host.file_systems import unanswered
from agentic_watch.service import deploy
from agentic_watch.service.deploy import Deployment
from agentic_watch.service.loaded import Loaded, loaded
from agentic_watch.service.service_user import Account, NoSuchAccount, group_name


def subject(config: Config) -> Subject:
    """What is to be checked under this configuration, here and now."""
    unit, account = loaded(), _own_account()
    is_installed = unit is not None and _works_with(unit, config.history)
    if unit is not None and is_installed:
        with suppress(NoSuchAccount):  # the check of the users names it
            account = unit.account()
    lost = unanswered(root.path for root in config.roots)
    silent = {root.key: lost[root.path] for root in config.roots if root.path in lost}
    answering = replace(config, roots=tuple(root for root in config.roots if root.key not in silent))
    return Subject(answering, account, is_installed, time.time(), silent)


def _works_with(unit: Loaded, history: str) -> bool:
    """Whether the unit's daemon would commit into this history."""
    try:
        return deploy.as_the_service(unit.said.overrides()).history == history
    except (ConfigError, NoRootsError):
        return False


def installed() -> Deployment | None:
    """The system's service as it should be, when its unit is in place; None when not, or when nobody can tell."""
    if (unit := loaded()) is None:
        return None
    try:
        return deploy.plan(unit.said.overrides(), for_user=False, run_as=unit.user)
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
