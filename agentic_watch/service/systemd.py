"""Talking to systemd, the system's or the calling user's: which unit it has, whoever put that in place (an
administrator, a package, `service install`), and putting the units there and away.

Each step can be done twice, the second time it does nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agentic_watch.host.new_file import new_file
from agentic_watch.service import units
from agentic_watch.service.install_plan import Chosen, read_back
from agentic_watch.service.service_user import Account, with_groups

_LINES = 5


class NoSystemd(Exception):
    """There is no systemd to talk to; the message says what to do instead."""


class ManagerError(Exception):
    """systemd did not do what it was asked; the message has its own words."""


@dataclass(frozen=True, slots=True)
class Manager:
    """The system's manager, or with `user` that of the calling user."""

    user: bool = False

    def require(self) -> None:
        """Raises NoSystemd unless systemd runs and answers (sd_booted(3) for the system's)."""
        if shutil.which("systemctl") is None or not os.path.isdir("/run/systemd/system"):
            raise NoSystemd(
                "systemd does not run here; run `agentic-watch` under whatever supervises processes on this host"
            )
        if self.user and self._systemctl("show-environment").returncode:
            raise NoSystemd(
                "this user has no systemd manager ($XDG_RUNTIME_DIR); log in properly, "
                "or `loginctl enable-linger` and log in again"
            )

    def do(self, *arguments: str) -> None:
        """Run systemctl. Raises ManagerError."""
        result = self._systemctl(*arguments)
        if result.returncode:
            raise ManagerError(f"systemctl {' '.join(arguments)}: {_one_line(result.stderr)}")

    def start(self, verb: str) -> None:
        """start or restart the daemon, and wait for READY=1. Raises ManagerError with the journal's last lines."""
        result = self._systemctl(verb, units.SERVICE)
        if result.returncode:
            said = _run(self._journal("--lines", str(_LINES), "--output", "cat", "--no-pager")).stdout
            hint = " ".join(self._journal())
            lines = said.splitlines()[-_LINES:] or [_one_line(result.stderr)]
            raise ManagerError("\n  ".join([f"{units.SERVICE} did not become ready ({hint}):", *lines]))

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit, "" for those that it does not have."""
        shown = self._systemctl("show", f"--property={','.join(names)}", unit).stdout
        found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return {name: found.get(name, "") for name in names}

    def _systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _run(["systemctl", *(["--user"] if self.user else []), "--no-pager", *arguments])

    def _journal(self, *options: str) -> list[str]:
        return ["journalctl", *(["--user-unit"] if self.user else ["--unit"]), units.SERVICE, *options]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603  ours


def make_account(sysusers: str, tmpfiles: str) -> None:
    """Make the user and the directories that two shipped files describe. Raises ManagerError."""
    for command in (["systemd-sysusers", sysusers], ["systemd-tmpfiles", "--create", tmpfiles]):
        try:
            result = _run(command)
        except FileNotFoundError as error:
            raise ManagerError(
                f"{command[0]} is not installed; make the user by hand and name it by --run-as"
            ) from error
        if result.returncode:
            raise ManagerError(f"{' '.join(command)}: {_one_line(result.stderr)}")


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "failed without a word"


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
    with new_file(path, 0o644, replace=True) as file:
        os.fchmod(file.fileno(), 0o644)  # whatever the umask of the shell
        file.write(text.encode("utf-8", "surrogateescape"))
