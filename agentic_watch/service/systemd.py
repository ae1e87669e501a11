"""The interface to systemd, of the system or the calling user: reads the loaded unit (of an administrator, a package or
`service install`), installs and removes units. Every step is idempotent.
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
    """systemd is not available; the message says what to do instead."""


class ManagerError(Exception):
    """A request to systemd failed; the message is systemd's."""


@dataclass(frozen=True, slots=True)
class Manager:
    """The system's manager, or with `user` that of the calling user."""

    user: bool = False

    def require(self) -> None:
        """Raise NoSystemd unless systemd runs and answers (sd_booted(3) for the system's)."""
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
        """Start or restart the daemon, and wait for READY=1. Raises ManagerError with the journal's last lines."""
        result = self._systemctl(verb, units.SERVICE)
        if result.returncode:
            said = _run(self._journal("--lines", str(_LINES), "--output", "cat", "--no-pager")).stdout
            hint = " ".join(self._journal())
            lines = said.splitlines()[-_LINES:] or [_one_line(result.stderr)]
            raise ManagerError("\n  ".join([f"{units.SERVICE} did not become ready ({hint}):", *lines]))

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit, "" for missing ones."""
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
    """Create the user and directories described by two shipped files. Raises ManagerError."""
    for command in (["systemd-sysusers", sysusers], ["systemd-tmpfiles", "--create", tmpfiles]):
        try:
            result = _run(command)
        except FileNotFoundError as error:
            raise ManagerError(
                f"{command[0]} is not installed; create the user manually and pass it by --run-as"
            ) from error
        if result.returncode:
            raise ManagerError(f"{' '.join(command)}: {_one_line(result.stderr)}")


def _one_line(text: str) -> str:
    return " ".join(text.split()) or "failed without a message"


_PROPERTIES = ("FragmentPath", "DropInPaths", "User", "Group", "SupplementaryGroups")


@dataclass(frozen=True, slots=True)
class Loaded:
    """The loaded unit: `files` are its file and drop-ins in order; `user` and `group` ("" is the user's own group) it
    runs as, and further `groups`."""

    files: tuple[str, ...]
    user: str
    group: str = ""
    groups: tuple[str, ...] = ()

    @property
    def said(self) -> Chosen:
        """The choices in its files."""
        return read_back(self.files)

    def account(self) -> Account:
        """The account it runs as. Raises NoSuchAccount."""
        return with_groups(Account.of(self.user), self.group, self.groups)


def loaded() -> Loaded | None:
    """The system's unit, None when there is none. Without a running systemd, the unit file of an administrator is
    read."""
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
"""Called with one line for each action."""


class Masked(Exception):
    """An operator masked a unit or replaced it by a link; the message names it."""


@dataclass(frozen=True, slots=True)
class InstalledFile:
    """One file of the service: `state` is current, differs or missing."""

    path: str
    state: str


def standings(files: Mapping[str, str]) -> list[InstalledFile]:
    """The state of each file on this host; a correct one from a package counts as current."""
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
    # Files that an earlier run wrote but did not load count as changed, too.
    stale = manager.properties(units.SERVICE, "NeedDaemonReload")["NeedDaemonReload"] == "yes"
    if changed or stale:
        manager.do("daemon-reload")
    return bool(changed) or stale


def start(files: Mapping[str, str], manager: Manager, say: Say, *, changed: bool) -> None:
    """Enable and start units, restart changed ones, and wait for READY=1. Raises ManagerError."""
    timers = [name for path in files if (name := os.path.basename(path)).endswith(".timer")]
    pushers = [name for path in files if (name := os.path.basename(path)) == units.PUSHER]
    wanted = [units.SERVICE, *timers, *pushers]
    if any(manager.properties(unit, "UnitFileState")["UnitFileState"] != "enabled" for unit in wanted):
        manager.do("enable", *wanted)
        say(f"enabled {', '.join(wanted)}")
    active = manager.properties(units.SERVICE, "ActiveState")["ActiveState"] == "active"
    if changed or not active:
        doing = "restarting" if active else "starting"
        say(f"{doing} {units.SERVICE}; waiting until it watches its roots and everything due is committed")
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
        with contextlib.suppress(OSError):  # it may have drop-ins of an operator
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
    """Replace a file atomically, because systemd may read it at any time."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with new_file(path, 0o644, replace=True) as file:
        os.fchmod(file.fileno(), 0o644)  # whatever the umask of the shell
        file.write(text.encode("utf-8", "surrogateescape"))
