"""The system's units: are they what this configuration wants, and in force?"""

from __future__ import annotations

from collections.abc import Iterator

from agentic_watch.answers.check.finding import Finding, Subject
from agentic_watch.answers.check.subject import installed
from agentic_watch.service import install, units
from agentic_watch.service.manager import Manager, NoSystemd
from agentic_watch.service.service_user import Account, NoSuchAccount, group_name

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
        yield Finding(_NAME, True, f"{deployment.host.unit_directory}: {len(deployment.files)} files as they should be")


def users(subject: Subject) -> Iterator[Finding]:
    """The user that the units name."""
    deployment = installed() if subject.installed else None
    if deployment is None or deployment.host.account is None:
        return
    try:
        account = Account.of(deployment.host.account[0])
    except NoSuchAccount as error:
        yield Finding("users", False, f"the units name {error}", _INSTALL)
        return
    groups = ", ".join(group_name(gid) for gid in account.groups)
    yield Finding("users", True, f"{account.name}: in {groups}")


def units_in_force(subject: Subject) -> Iterator[Finding]:
    """Enabled, loaded as they lie there, and the last nightly pass did not fail."""
    if not subject.installed:
        return
    manager = Manager()
    try:
        manager.require()
    except NoSystemd as error:
        yield Finding(_NAME, None, f"{units.SERVICE}: {error}")
        return
    for unit in (units.SERVICE, units.TIMER):
        found = manager.properties(unit, "UnitFileState", "NeedDaemonReload", "ActiveState")
        if found["UnitFileState"] != "enabled":
            state = found["UnitFileState"] or "not there"
            yield Finding(_NAME, False, f"{unit}: is {state}, so the next boot will not start it", _INSTALL)
        if found["NeedDaemonReload"] == "yes":
            yield Finding(_NAME, False, f"{unit}: has changed since it was loaded", "systemctl daemon-reload")
        if unit == units.TIMER and found["ActiveState"] != "active":
            yield Finding(_NAME, False, f"{unit}: is not active, so no nightly pass comes", f"systemctl start {unit}")
    if (result := manager.properties(units.BACKFILL, "Result")["Result"]) not in ("success", ""):
        yield Finding(_NAME, False, f"{units.BACKFILL}: the last nightly pass failed ({result})", _why())


def _why() -> str:
    return f"journalctl -u {units.BACKFILL} -p warning names what failed"
