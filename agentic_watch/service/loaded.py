"""The service's unit as systemd has it, whoever put it in place: an administrator, a package, or `service install`."""

from __future__ import annotations

import os
from dataclasses import dataclass

from agentic_watch.service import units
from agentic_watch.service.manager import Manager, NoSystemd
from agentic_watch.service.remembered import Chosen, read_back
from agentic_watch.service.service_user import Account, with_groups

_PROPERTIES = ("FragmentPath", "DropInPaths", "User", "Group", "SupplementaryGroups")


@dataclass(frozen=True, slots=True)
class Loaded:
    """`files` are the unit's file and its drop-ins, in the order in which they count; `user` and `group` are who it
    runs as ("" is that user's own group), `groups` the names of further ones."""

    files: tuple[str, ...]
    user: str
    group: str = ""
    groups: tuple[str, ...] = ()

    @property
    def said(self) -> Chosen:
        """What its files say of its command."""
        return read_back(self.files)

    def account(self) -> Account:
        """Who it runs as. Raises NoSuchAccount."""
        return with_groups(Account.of(self.user), self.group, self.groups)


def loaded() -> Loaded | None:
    """The system's unit, None when there is none. Where no systemd runs, one that an administrator put there tells."""
    manager = Manager()
    try:
        manager.require()
    except NoSystemd:
        return _lying_there()
    found = manager.properties(units.SERVICE, *_PROPERTIES)
    if not found["FragmentPath"]:
        return None
    files = (found["FragmentPath"], *found["DropInPaths"].split())
    return Loaded(files, found["User"] or "root", found["Group"], tuple(found["SupplementaryGroups"].split()))


def _lying_there() -> Loaded | None:
    files = (os.path.join(units.SYSTEM_UNITS, units.SERVICE), units.drop_in_path(units.SYSTEM_UNITS, units.SERVICE))
    return Loaded(files, read_back(files).run_as or "root") if os.path.lexists(files[0]) else None
