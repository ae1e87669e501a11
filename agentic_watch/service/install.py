"""Putting the units in place, and taking them away: each step can be done twice, the second time it does nothing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agentic_watch.host.new_file import new_path
from agentic_watch.service import units
from agentic_watch.service.manager import Manager, make_account

Say = Callable[[str], None]
"""Told each thing that was done, one line each."""


class Masked(Exception):
    """An operator has masked a unit, or made it a link of their own; the message names it."""


@dataclass(frozen=True, slots=True)
class InstalledFile:
    """One file of the service: `state` is current, differs or missing."""

    path: str
    state: str


def standings(files: Mapping[str, str]) -> list[InstalledFile]:
    """What stands of each file on this host; one that a package brought as it should be is no other file."""
    return [_standing(path, text) for path, text in files.items()]


def install(files: Mapping[str, str], manager: Manager, say: Say) -> bool:
    """Write what differs and make the user. True when anything changed. Raises Masked, ManagerError, OSError."""
    changed = [standing.path for standing in standings(files) if standing.state != "current"]
    for path in changed:
        _refuse_link(path)
    for path in changed:
        _write(path, files[path])
        say(f"wrote {path}")
    sysusers, tmpfiles = (f"/etc/{kind}/{units.USER}.conf" for kind in ("sysusers.d", "tmpfiles.d"))
    if sysusers in files:
        make_account(units.lies_at(sysusers), units.lies_at(tmpfiles))
    # What an earlier run wrote and did not get to load counts as changed, too.
    stale = manager.properties(units.SERVICE, "NeedDaemonReload")["NeedDaemonReload"] == "yes"
    if changed or stale:
        manager.do("daemon-reload")
    return bool(changed) or stale


def start(files: Mapping[str, str], manager: Manager, say: Say, *, changed: bool) -> None:
    """Enable and start what is not yet, start anew what changed; wait for READY=1. Raises ManagerError."""
    timers = [name for path in files if (name := os.path.basename(path)).endswith(".timer")]
    pushers = [name for path in files if (name := os.path.basename(path)) == units.PUSHER]
    wanted = [units.SERVICE, *timers, *pushers]
    if any(manager.properties(unit, "UnitFileState")["UnitFileState"] != "enabled" for unit in wanted):
        manager.do("enable", *wanted)
        say(f"enabled {', '.join(wanted)}")
    active = manager.properties(units.SERVICE, "ActiveState")["ActiveState"] == "active"
    if changed or not active:
        doing = "restarting" if active else "starting"
        say(f"{doing} {units.SERVICE}; it is ready when it watches its roots and what was due is committed")
        manager.start("restart")
    for unit in (*timers, *pushers):
        manager.do("restart" if changed else "start", unit)


def uninstall(paths: Sequence[str], manager: Manager, say: Say) -> None:
    """Stop, disable and remove. The history, the configuration and the user stay. Raises ManagerError, OSError."""
    names = [os.path.basename(path) for path in paths if os.path.dirname(path).endswith(("/system", "/user"))]
    there = [path for path in paths if os.path.lexists(path)]
    loaded = [n for n in names if manager.properties(n, "LoadState")["LoadState"] not in ("not-found", "")]
    if loaded:
        manager.do("disable", "--now", *[name for name in loaded if name != units.BACKFILL])
        manager.do("stop", *loaded)
        say(f"stopped and disabled {', '.join(loaded)}")
    for path in there:
        os.unlink(path)
        say(f"removed {path}")
        with contextlib.suppress(OSError):  # an operator's own drop-ins may be in there
            if path.endswith(".conf") and os.path.dirname(path).endswith(".service.d"):
                os.rmdir(os.path.dirname(path))
    if there:
        manager.do("daemon-reload")


def _standing(path: str, text: str) -> InstalledFile:
    there = units.lies_at(path)
    try:
        with open(there, encoding="utf-8", errors="surrogateescape") as file:
            return InstalledFile(there, "current") if file.read() == text else InstalledFile(path, "differs")
    except FileNotFoundError:
        return InstalledFile(path, "missing")


def _refuse_link(path: str) -> None:
    if os.path.islink(path):
        raise Masked(f"{path}: is a link to {os.readlink(path)}; `systemctl unmask` it, or remove it, then again")


def _write(path: str, text: str) -> None:
    """Replace a file whole: systemd may read it at any time."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with new_path(path) as temporary, open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
        os.chmod(temporary, 0o644)  # whatever the umask of the shell
        file.write(text)
