"""The system's units: are they what this configuration wants, and in force?"""

from __future__ import annotations

from collections.abc import Iterator

from agentic_watch.answers.check.finding import Finding, Subject
from agentic_watch.answers.check.subject import installed
from agentic_watch.config import Config
from agentic_watch.service import install, units
from agentic_watch.service.loaded import loaded
from agentic_watch.service.manager import Manager, NoSystemd
from agentic_watch.service.push_unit import PUSHER
from agentic_watch.service.service_user import NoSuchAccount, group_name

_NAME = "units"
_INSTALL = "agentic-watch service install"


def unit_files(subject: Subject) -> Iterator[Finding]:
    """Each file as this host and its configuration want it; nothing to say where no service is installed."""
    if not subject.installed or (deployment := installed()) is None:
        return
    wrong = [standing for standing in install.standings(deployment.files) if standing.state != "current"]
    for standing in wrong:
        yield Finding(_NAME, False, f"{standing.path}: {standing.state}", f"{_INSTALL} writes it anew")
    if not wrong:
        yield Finding(_NAME, True, f"{units.SERVICE}: {len(deployment.files)} files as they should be")


def users(subject: Subject) -> Iterator[Finding]:
    """The user that the unit names, its groups, and those that the unit adds."""
    if not subject.installed or (unit := loaded()) is None:
        return
    try:
        account = unit.account()
    except NoSuchAccount as error:
        yield Finding("users", False, f"the unit names {error}", _INSTALL)
        return
    groups = ", ".join(group_name(gid) for gid in account.groups)
    yield Finding("users", True, f"{account.name}: in {groups}")


def units_in_force(subject: Subject) -> Iterator[Finding]:
    """Enabled, loaded as they lie there, running, and the last nightly pass did not fail."""
    if not subject.installed:
        return
    manager = Manager()
    try:
        manager.require()
    except NoSystemd as error:
        yield Finding(_NAME, None, f"{units.SERVICE}: {error}")
        return
    for unit, lost in _wanted(subject.config):
        yield from _state(manager, unit, lost)
    if (result := manager.properties(units.BACKFILL, "Result")["Result"]) not in ("success", ""):
        yield Finding(_NAME, False, f"{units.BACKFILL}: the last nightly pass failed ({result})", _why())


def _wanted(config: Config) -> Iterator[tuple[str, str]]:
    """The units that are to be enabled, and what is lost when one does not run ("": the check of the daemon says)."""
    yield units.SERVICE, ""
    yield units.TIMER, "so no nightly pass comes"
    if config.push or config.hooks:
        yield PUSHER, "so nothing is pushed and no hook is run"


def _state(manager: Manager, unit: str, lost: str) -> Iterator[Finding]:
    found = manager.properties(unit, "UnitFileState", "NeedDaemonReload", "ActiveState")
    if found["UnitFileState"] != "enabled":
        state = found["UnitFileState"] or "not there"
        yield Finding(_NAME, False, f"{unit}: is {state}, so the next boot will not start it", _INSTALL)
    if found["NeedDaemonReload"] == "yes":
        yield Finding(_NAME, False, f"{unit}: has changed since it was loaded", "systemctl daemon-reload")
    if lost and found["ActiveState"] != "active":
        step = f"systemctl start {unit}; journalctl -u {unit} -n 20 says why when it does not stay"
        yield Finding(_NAME, False, f"{unit}: is {found['ActiveState'] or 'not there'}, {lost}", step)


def _why() -> str:
    return f"journalctl -u {units.BACKFILL} -p warning names what failed"
