"""Talking to systemd: systemctl of the system, or of the calling user.

The service's unit as systemd has it, whoever put it in place: an administrator, a package, or `service install`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from agentic_watch.service import units
from agentic_watch.service.deploy import Chosen, read_back
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
            said = self._run(self._journal("--lines", str(_LINES), "--output", "cat", "--no-pager")).stdout
            hint = " ".join(self._journal())
            lines = said.splitlines()[-_LINES:] or [_one_line(result.stderr)]
            raise ManagerError("\n  ".join([f"{units.SERVICE} did not become ready ({hint}):", *lines]))

    def properties(self, unit: str, *names: str) -> dict[str, str]:
        """Properties of a unit, "" for those that it does not have."""
        shown = self._systemctl("show", f"--property={','.join(names)}", unit).stdout
        found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        return {name: found.get(name, "") for name in names}

    def _systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(["systemctl", *(["--user"] if self.user else []), "--no-pager", *arguments])

    def _journal(self, *options: str) -> list[str]:
        return ["journalctl", *(["--user-unit"] if self.user else ["--unit"]), units.SERVICE, *options]

    @staticmethod
    def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603  ours


def make_account(sysusers: str, tmpfiles: str) -> None:
    """Make the user and the directories that two shipped files describe. Raises ManagerError."""
    for command in (["systemd-sysusers", sysusers], ["systemd-tmpfiles", "--create", tmpfiles]):
        try:
            result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)  # noqa: S603  ours
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
