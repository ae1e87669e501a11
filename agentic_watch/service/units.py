"""Renders the service's units and drop-ins for this host.

The unit files in systemd/ are the same everywhere and shipped unchanged; settings of this host are in drop-ins, where
an operator sees them at a glance. The pusher's unit is installed only when there are targets or hooks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from agentic_watch.config import Config, MetricsPlaces, Target

SERVICE = "agentic-watch.service"
BACKFILL = "agentic-watch-backfill.service"
TIMER = "agentic-watch-backfill.timer"
USER = "agentic-watch"
STATE = "/var/lib/agentic-watch"
SYSTEM_UNITS = "/etc/systemd/system"

_DROP_IN = "10-host.conf"
# Without the colon, which separates source and destination in BindPaths= unless it is quoted.
_PLAIN = re.compile(r"[A-Za-z0-9_@+=,./%-]+")
_HEADER = """\
# Written by `agentic-watch service install`, which replaces it when it runs again.
# Changes of your own belong into a drop-in of their own: systemctl {user}edit {unit}

[Service]
"""

_HIDDEN_HOMES = ("/home", "/root", "/run/user")
_HIDDEN_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108  named to be refused, not to be used


@dataclass(frozen=True, slots=True)
class Host:
    """Facts about this host for the units. Paths are absolute.

    `command` is the interpreter with its arguments, `options` are the daemon's. `account` is (user, group), None for a
    service of the calling user; `unit_directory` is the directory for the units.
    """

    command: tuple[str, ...]
    options: tuple[str, ...]
    roots: tuple[str, ...]
    history: str
    account: tuple[str, str] | None
    unit_directory: str = SYSTEM_UNITS
    metrics: MetricsPlaces = field(default_factory=MetricsPlaces)


def render(host: Host) -> dict[str, str]:
    """Every file of the service on this host: path → text."""
    at = host.unit_directory
    if host.account is None:
        files = {f"{at}/{name}": shipped(f"user/{name}") for name in (SERVICE, BACKFILL)}
        files[f"{at}/{TIMER}"] = shipped(TIMER)
    else:
        files = {f"{at}/{name}": shipped(name) for name in (SERVICE, BACKFILL, TIMER)}
        if host.account[0] == USER:
            for kind in ("sysusers.d", "tmpfiles.d"):
                files[f"/etc/{kind}/{USER}.conf"] = shipped(f"{kind}/{USER}.conf")
    for unit in (BACKFILL, SERVICE):
        files[drop_in_path(at, unit)] = _drop_in(host, unit)
    return files


def paths(account: tuple[str, str] | None, unit_directory: str) -> list[str]:
    """The paths of the service's files."""
    return list(render(Host(("/",), (), (), "/", account, unit_directory)))


def shipped(name: str) -> str:
    """The text of a shipped unit, from the wheel or the source tree."""
    here = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(here, "units")
    source = os.path.join(os.path.dirname(os.path.dirname(here)), "systemd")
    with open(os.path.join(installed if os.path.isdir(installed) else source, name), encoding="utf-8") as file:
        return file.read()


def drop_in_path(unit_directory: str, unit: str) -> str:
    """The path of a unit's drop-in with this host's settings."""
    return f"{unit_directory}/{unit}.d/{_DROP_IN}"


def packaged_at(path: str) -> str:
    """The path at which a package installs a file that `render` puts into /etc."""
    return path.replace("/etc/systemd/", "/usr/lib/systemd/", 1).replace("/etc/", "/usr/lib/", 1)


def lies_at(path: str) -> str:
    """The path at which systemd finds a file: an administrator's takes precedence over a package's."""
    packaged = packaged_at(path)
    return packaged if not os.path.lexists(path) and os.path.lexists(packaged) else path


def hidden_by(path: str) -> str | None:
    """The setting of the system unit that hides a path from the service; None when it is visible."""
    if is_below(path, _HIDDEN_HOMES):
        return "ProtectHome="
    return "PrivateTmp=" if is_below(path, _HIDDEN_TEMPORARY) else None


def quoted(value: str) -> str:
    """A word of a setting: `%` is doubled, the rest quoted where it must be (systemd.syntax(7))."""
    doubled = value.replace("%", "%%")
    if _PLAIN.fullmatch(doubled):
        return doubled
    escaped = doubled.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def command_line(words: Iterable[str]) -> str:
    """A command for ExecStart=: as `quoted`, with `$` doubled except in the program's path (systemd.service(5))."""
    program, *rest = words
    return " ".join([quoted(program), *(quoted(word.replace("$", "$$")) for word in rest)])


def _drop_in(host: Host, unit: str) -> str:
    program = (*host.command, *host.options)
    if unit == BACKFILL:
        settings = ["ExecStart=", f"ExecStart={command_line((*program, '--once', '--jobs', '1'))}"]
    else:
        settings = ["ExecStart=", f"ExecStart={command_line(program)}"]
        # An invalid configuration fails the reload, with each problem in the journal.
        settings += ["ExecReload=", f"ExecReload={command_line((*program, 'config', 'check'))}"]
        settings += ["ExecReload=kill -HUP $MAINPID"]
    if host.account is not None:
        settings += [*account_settings(host.account), *_paths(host)]
        settings += _metrics(host.metrics) if unit == SERVICE else []
    return header(unit, host) + "\n".join(settings) + "\n"


def header(unit: str, host: Host) -> str:
    """The header of a drop-in: its origin, and where to put changes."""
    return _HEADER.format(unit=unit, user="--user " if host.account is None else "")


def account_settings(account: tuple[str, str]) -> list[str]:
    """Settings for a service that runs as another user."""
    return [] if account == (USER, USER) else [f"User={account[0]}", f"Group={account[1]}"]


def _paths(host: Host) -> list[str]:
    """Make only the roots writable, and not executable; `-`: a root may not exist yet."""
    settings = []
    hidden = [root for root in host.roots if hidden_by(root)]
    if any(hidden_by(root) == "ProtectHome=" for root in hidden):
        settings.append("ProtectHome=tmpfs")
    settings += [f"BindPaths={quoted('-' + root)}" for root in hidden]
    directory = os.path.dirname(host.history)
    outside = () if is_below(directory, (STATE,)) else (directory,)
    settings += [f"ReadWritePaths={quoted('-' + path)}" for path in (*host.roots, *outside)]
    return settings + [f"NoExecPaths={quoted('-' + root)}" for root in host.roots]


def _metrics(places: MetricsPlaces) -> list[str]:
    """Permissions for metrics only: a directory for the file, a socket to listen on."""
    settings = [f"ReadWritePaths={quoted('-' + os.path.dirname(places.textfile))}"] if places.textfile else []
    if places.listen is None:
        return settings
    # The unit has no network otherwise; IPAddressAllow= lists clients, which are known only for loopback.
    known = places.listen.startswith(("127.", "localhost", "[::1]"))
    settings += ["PrivateNetwork=no", "RestrictAddressFamilies=AF_INET AF_INET6"]
    return [*settings, "IPAddressAllow=localhost" if known else "IPAddressDeny="]


def is_below(path: str, tops: Iterable[str]) -> bool:
    """Whether a path is one of `tops` or below one."""
    return any(path == top or path.startswith(f"{top}/") for top in tops)


PUSHER = "agentic-watch-push.service"


def files(host: Host, config: Config) -> dict[str, str]:
    """The pusher's unit and drop-in, path → text; empty without targets and hooks."""
    if not config.push and not config.hooks:
        return {}
    text = shipped(PUSHER if host.account is not None else f"user/{PUSHER}")
    unit, drop_in = push_paths(host.unit_directory)
    return {unit: text, drop_in: _push_drop_in(host, config)}


def push_paths(unit_directory: str) -> list[str]:
    """The paths of both."""
    return [f"{unit_directory}/{PUSHER}", drop_in_path(unit_directory, PUSHER)]


def _push_drop_in(host: Host, config: Config) -> str:
    options = [option for option in host.options if not option.startswith("--history=")]
    history = f"--history={host.history.replace('$', '$$')}"
    settings = ["ExecStart=", f"ExecStart={command_line((*host.command, *options, history, 'push', '--follow'))}"]
    if host.account is not None:
        settings += account_settings(host.account)
        # The unit with network access cannot see the roots.
        settings += [f"InaccessiblePaths={quoted('-' + root)}" for root in host.roots]
        settings += _credentials(config.push)
        if not is_below(host.history, (STATE,)):
            settings.append(f"ReadWritePaths={quoted('-' + os.path.dirname(host.history))}")
    return header(PUSHER, host) + "\n".join(settings) + "\n"


def _credentials(targets: tuple[Target, ...]) -> Iterator[str]:
    """Load secrets by systemd, so that only root can read their files."""
    from agentic_watch.fleet.credentials import credential_name  # late: takes 40 ms, and only installs need it

    for target in targets:
        path = target.secret_file
        if path is not None and "/" in path:
            # Only specifiers are escaped: quotes would become part of the path.
            yield f"LoadCredential={credential_name(target)}:{path.replace('%', '%%')}"
