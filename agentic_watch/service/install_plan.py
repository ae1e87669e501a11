"""Decides which files the service needs on this host, and whether it would work. `systemd` carries it out.

Also reads the choices of an earlier install from its unit, so that an upgrade keeps them.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agentic_watch.config import Config, Overrides, Root, find_file, load
from agentic_watch.scan import RootUnavailable, scan
from agentic_watch.service import root_access, service_user, units
from agentic_watch.service.service_user import Account
from agentic_watch.service.units import Host
from agentic_watch.workspace import layout
from agentic_watch.workspace.candidate import Candidate

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


@dataclass(frozen=True, slots=True)
class Chosen:
    """The choices of an install: the account (None: the service's own, or not installed) and the options of its
    command."""

    run_as: str | None = None
    options: tuple[str, ...] = ()

    def overrides(self) -> Overrides:
        """The options as command-line overrides."""
        given = [option.partition("=")[::2] for option in self.options]
        said = dict(given)
        return Overrides(
            config=said.get("--config"),
            roots=tuple(value for name, value in given if name == "--root"),
            history=said.get("--history"),
            log_format=said.get("--log-format"),
        )


def chosen(unit_directory: str) -> Chosen:
    """The choices in the installed drop-in; empty when it is missing or unreadable."""
    return read_back([units.lies_at(units.drop_in_path(unit_directory, units.SERVICE))])


def read_back(files: Iterable[str]) -> Chosen:
    """The choices in a unit's files, in systemd's order: the last value counts."""
    settings: dict[str, str] = {}
    for path in files:
        try:
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        said = (line.partition("=") for line in lines if not line.startswith("#"))
        settings.update((name, value) for name, equals, value in said if equals)
    return Chosen(settings.get("User"), tuple(_remembered_options(words(settings.get("ExecStart", "")))))


def _remembered_options(command: list[str]) -> Iterable[str]:
    """Each option as one word, `--name=value`."""
    following = [*command[1:], "--"]
    for word, value in zip(command, following, strict=False):
        if word.startswith("--"):
            yield word if "=" in word or value.startswith("-") else f"{word}={value}"


def words(line: str) -> list[str]:
    """The words of a command as `units.command_line` wrote them."""
    found: list[str] = []
    for match in _WORD.finditer(line):
        word = re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[2]
        word = word.replace("%%", "%")
        found.append(word.replace("$$", "$") if found else word)
    return found


_LOOKED_AT = 64
_FOREIGN = ("AGENTIC_WATCH_CONFIG", "CORE_WORKSPACE", "XDG_CONFIG_HOME", "XDG_STATE_HOME")


@dataclass(frozen=True, slots=True)
class Deployment:
    """The desired state: `files` (path → text), for the configuration as the service will read it."""

    config: Config
    host: Host
    files: Mapping[str, str]


def plan(overrides: Overrides, *, for_user: bool, run_as: str | None) -> Deployment:
    """Determine the desired state. Raises ConfigError, NoRootsError and NoSuchAccount.

    Choices of an earlier install are kept unless given again.
    """
    before = chosen(unit_directory(for_user))
    overrides = before.overrides() if overrides == Overrides() else overrides
    account = None if for_user else _names(run_as or before.run_as)
    config = load(overrides, os.environ) if account is None else as_the_service(overrides)
    host = Host(
        # -P: never import from the service's working directory.
        command=(sys.executable, "-P", "-m", "agentic_watch"),
        options=_options(overrides, config),
        roots=tuple(root.path for root in config.roots),
        history=config.history,
        account=account,
        unit_directory=unit_directory(for_user),
        metrics=config.metrics,
    )
    return Deployment(config, host, {**units.render(host), **units.files(host, config)})


def unit_directory(for_user: bool) -> str:
    """The directory for units of an administrator, or of the user."""
    if not for_user:
        return units.SYSTEM_UNITS
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return os.path.join(base if os.path.isabs(base) else os.path.expanduser("~/.config"), "systemd", "user")


def _names(run_as: str | None) -> tuple[str, str]:
    if run_as in (None, units.USER):
        return units.USER, units.USER
    account = Account.of(run_as)
    return account.name, account.group


def as_the_service(overrides: Overrides) -> Config:
    """The configuration as the system's service will read it, with the service's variables.

    Raises ConfigError and NoRootsError.
    """
    found = find_file(overrides, os.environ)
    environ = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    environ |= {"HOME": units.STATE, "STATE_DIRECTORY": units.STATE}
    return load(
        Overrides(found[0] if found else None, overrides.roots, overrides.history, overrides.log_format), environ
    )


def _options(overrides: Overrides, config: Config) -> tuple[str, ...]:
    options = [("--config", config.file)] if config.file is not None else []
    if overrides.roots or config.file is None:
        options += [("--root", root.path) for root in config.roots]
    options += [("--history", config.history)] if overrides.history is not None else []
    options += [("--log-format", overrides.log_format)] if overrides.log_format is not None else []
    # One word per option, because a path may begin with a dash; a dollar sign in it is escaped.
    literal = {"--root", "--history"}
    return tuple(f"{name}={str(value).replace('$', '$$') if name in literal else value}" for name, value in options)


def obstacle(deployment: Deployment) -> str | None:
    """Why the service cannot reach its program (203/EXEC) or its files; None when it can."""
    if deployment.host.account is None:
        return _unwritable(deployment.config.history)
    if (program := service_user.hidden_program()) is not None:
        return (
            f"{program[0]}: the service cannot reach this interpreter ({program[1]}). Install the program where it "
            "can: `python3 -m venv /opt/agentic-watch`, then `/opt/agentic-watch/bin/pip install` as here"
        )
    config = deployment.config
    for path, better in ((config.file, "/etc/agentic-watch/config.toml"), (config.history, units.STATE)):
        if path is not None and (setting := units.hidden_by(path)) is not None:
            return f"{path}: the service cannot reach this file ({setting}); move it to {better}"
    return None


def _unwritable(history: str) -> str | None:
    directory = os.path.dirname(history)
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    if os.access(directory, os.W_OK | os.X_OK):
        return None
    return f"{history}: this user cannot write there (is it the system's?); give the user's service its own by --config"


def unreadable(deployment: Deployment, account: Account) -> str | None:
    """Why the user cannot start the program; None when it can. Needs root."""
    file = deployment.config.file
    if not service_user.can_import(account, deployment.host.command):
        return f"{sys.prefix}: the user {account.name} cannot read the program; chmod -R go+rX {sys.prefix}"
    if file is not None and not service_user.can_read(account, file):
        return f"{file}: the user {account.name} cannot read it; chmod 644 {file}"
    return None


def doubts(deployment: Deployment, account: Account) -> Iterator[str]:
    """Warnings about a service that starts but cannot work: roots that it cannot write. Needs root."""
    for root in deployment.config.roots:
        if not os.path.isdir(root.path):
            yield f"{root.path}: does not exist yet; the service waits for it, and restarts itself once it exists"
        elif closed := root_access.closed(account, None, root.path, samples(root)):
            yield (
                f"{closed.path}: {closed.cause}, so nothing in it will be committed. "
                f"To fix it, run this, then `agentic-watch check`:\n  {closed.step}"
            )


def samples(root: Root) -> list[str]:
    """The directories that commits of the newest dispatches write; the root if there are none."""
    newest: list[Candidate] = []
    with contextlib.suppress(RootUnavailable), contextlib.closing(scan(root)) as seen:
        workspaces = (one for one in seen if isinstance(one, Candidate))
        newest = heapq.nlargest(_LOOKED_AT, workspaces, key=lambda one: one.changed_at)
    return written_to(root, [one.name for one in newest])


def written_to(root: Root, names: Iterable[str]) -> list[str]:
    """The directories that commits of these workspaces write; the root if none exists."""
    found = []
    for name in names:
        workspace = os.path.join(root.path, name)
        meta = os.path.join(workspace, layout.META)
        found += [path for path in (meta, workspace) if os.path.isdir(path)][:1]
    return found or [root.path]
