"""Checks of the service: its units are current and active, and the daemon is alive, of this version, and able to use
its history and roots.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from agentic_watch import __version__, counted
from agentic_watch.answers.check.check_result import CheckResult, Subject, installed
from agentic_watch.config import Config
from agentic_watch.daemon.daemon_presence import file_of
from agentic_watch.daemon.daemon_state import DaemonState, Liveness, pulse
from agentic_watch.service import units
from agentic_watch.service.root_access import open_for
from agentic_watch.service.service_user import NoSuchAccount, group_name
from agentic_watch.service.systemd import Manager, NoSystemd, loaded, standings
from agentic_watch.service.units import PUSHER, is_below

_UNITS = "units"
_INSTALL = "agentic-watch service install"


def unit_files(subject: Subject) -> Iterator[CheckResult]:
    """Whether each unit file is up to date; no result where no service is installed."""
    if not subject.installed or (deployment := installed()) is None:
        return
    wrong = [standing for standing in standings(deployment.files) if standing.state != "current"]
    for standing in wrong:
        yield CheckResult(_UNITS, False, f"{standing.path}: {standing.state}", f"{_INSTALL} rewrites it")
    if not wrong:
        yield CheckResult(_UNITS, True, f"{units.SERVICE}: {counted(len(deployment.files), 'file')} up to date")


def users(subject: Subject) -> Iterator[CheckResult]:
    """Whether the user and groups in the unit exist."""
    if not subject.installed or (unit := loaded()) is None:
        return
    try:
        account = unit.account()
    except NoSuchAccount as error:
        yield CheckResult("users", False, f"the unit names {error}", _INSTALL)
        return
    groups = ", ".join(group_name(gid) for gid in account.groups)
    yield CheckResult("users", True, f"{account.name}: in {groups}")


def units_in_force(subject: Subject) -> Iterator[CheckResult]:
    """Whether the units are enabled, loaded in their current form and running, and the last nightly pass succeeded."""
    if not subject.installed:
        return
    manager = Manager()
    try:
        manager.require()
    except NoSystemd as error:
        yield CheckResult(_UNITS, None, f"{units.SERVICE}: {error}")
        return
    for unit, lost in _wanted(subject.config):
        yield from _state(manager, unit, lost)
    if (result := manager.properties(units.BACKFILL, "Result")["Result"]) not in ("success", ""):
        step = f"journalctl -u {units.BACKFILL} -p warning names what failed"
        yield CheckResult(_UNITS, False, f"{units.BACKFILL}: the last nightly pass failed ({result})", step)


def _wanted(config: Config) -> Iterator[tuple[str, str]]:
    """The units to enable, and the consequence when one does not run ("" if the check of the daemon reports it)."""
    yield units.SERVICE, ""
    yield units.TIMER, "so there is no nightly pass"
    if config.push or config.hooks:
        yield PUSHER, "so nothing is pushed and no hook is run"


def _state(manager: Manager, unit: str, lost: str) -> Iterator[CheckResult]:
    found = manager.properties(unit, "UnitFileState", "NeedDaemonReload", "ActiveState")
    if found["UnitFileState"] != "enabled":
        state = found["UnitFileState"] or "not there"
        yield CheckResult(_UNITS, False, f"{unit}: is {state}, so the next boot will not start it", _INSTALL)
    if found["NeedDaemonReload"] == "yes":
        yield CheckResult(_UNITS, False, f"{unit}: has changed since it was loaded", "systemctl daemon-reload")
    if lost and found["ActiveState"] != "active":
        step = f"systemctl start {unit}; journalctl -u {unit} -n 20 shows why if it stops again"
        yield CheckResult(_UNITS, False, f"{unit}: is {found['ActiveState'] or 'not there'}, {lost}", step)


_LOOP = "daemon"
_NONE_YET = "no daemon has run for this history yet"


def daemon(subject: Subject) -> Iterator[CheckResult]:
    """Like `alive`, but no problem on a host where no daemon ever ran: it may use --once only."""
    if _has_none_yet(subject):
        step = "start agentic-watch, unless only --once is used (check --quick expects a daemon)"
        yield CheckResult(_LOOP, None, f"{subject.config.history}: {_NONE_YET}", step)
        return
    yield from alive(subject)


def _has_none_yet(subject: Subject) -> bool:
    return not subject.installed and not _has_run(subject.config.history)


def _has_run(history: str) -> bool:
    """Whether a daemon left its state; true also for an unreadable file.

    An empty file was created by another command that excluded daemons.
    """
    try:
        return os.lstat(file_of(history)).st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def alive(subject: Subject) -> Iterator[CheckResult]:
    """A problem if the daemon is stopped or hung; unknown without permission to read its state."""
    history = subject.config.history
    start = "systemctl restart agentic-watch" if subject.installed else "start agentic-watch"
    how, state = pulse(history)
    if how is Liveness.UNKNOWN:
        yield CheckResult(_LOOP, None, f"{file_of(history)}: this user may not look")
    elif how is Liveness.STOPPED and _has_none_yet(subject):
        step = "start agentic-watch; if only --once is used, monitor `agentic-watch check`, which expects none then"
        yield CheckResult(_LOOP, False, f"{history}: {_NONE_YET}", step)
    elif how is Liveness.STOPPED:
        seen = f"; last seen {state.updated_at} (pid {state.pid})" if state else ""
        yield CheckResult(_LOOP, False, f"{history}: no daemon runs{seen}", start)
    elif how is Liveness.STALE and state is not None:
        silent = time.monotonic() - state.beat
        text = f"{history}: daemon (pid {state.pid}): no heartbeat for {silent:.0f} s; stopped or hung"
        yield CheckResult(_LOOP, False, text, start)
    elif state is None:
        yield CheckResult(_LOOP, None, f"{history}: a daemon runs and has not reported its state yet")
    else:
        yield CheckResult(
            _LOOP, True, f"pid {state.pid}, {state.phase} since {state.started_at}, as of {state.updated_at}"
        )
        yield from _content(subject, state, start)


def _openings(subject: Subject, state: DaemonState) -> Iterator[str]:
    for root in subject.config.roots:
        if any(is_below(name, (root.key,)) for name in state.unreadable_names):
            yield open_for(subject.account.name, root.path)


def _content(subject: Subject, state: DaemonState, start: str) -> Iterator[CheckResult]:
    if state.history_error:
        yield CheckResult(
            _LOOP, False, f"the daemon cannot use its history: {state.history_error}", "see ownership, space"
        )
    if state.unreadable:
        named = f"{', '.join(state.unreadable_names)}{' …' if state.unreadable > len(state.unreadable_names) else ''}"
        text = f"{state.unreadable} below the roots that the daemon cannot read, so nothing in there is committed"
        step = f"let {subject.account.name} in: {' && '.join(_openings(subject, state))}"
        yield CheckResult(_LOOP, False, f"{named}: {text}", step)
    there = {root.key for root in subject.config.roots if os.path.isdir(root.path)}
    for root in state.roots:
        if root.watching == "waiting" and root.root in there:  # the check of the roots reports missing ones
            step = f"let {subject.account.name} look into it and all above it"
            yield CheckResult(
                _LOOP, False, f"{root.root}: the daemon waits for it ({root.detail})", step, root=root.root
            )
    if state.version != __version__:
        yield CheckResult(_LOOP, False, f"the daemon is version {state.version}, this program {__version__}", start)
