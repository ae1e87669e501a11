"""The units as they are shipped, and the drop-ins that fit them to this host.

What is the same everywhere stands in the files of systemd/ (one source: a wheel carries them as they are);
what differs from host to host stands in drop-ins, so that an operator sees at a glance what was decided here.

The pusher's unit: in place when something is to be pushed, and what of it differs from host to host.
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
# Without the colon, which parts source and destination in BindPaths= unless it is quoted.
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
    """What the units must know of this host. Paths are absolute.

    `command` is the interpreter and its arguments, `options` are the daemon's own. `account` is (user, group),
    None for a service of the calling user, whose units lie in `unit_directory` as the system's do.
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
    """Where the files of the service lie, whatever is in them."""
    return list(render(Host(("/",), (), (), "/", account, unit_directory)))


def shipped(name: str) -> str:
    """The text of a shipped unit: from the wheel, or from the source tree when that is what runs."""
    here = os.path.dirname(os.path.abspath(__file__))
    installed = os.path.join(here, "units")
    source = os.path.join(os.path.dirname(os.path.dirname(here)), "systemd")
    with open(os.path.join(installed if os.path.isdir(installed) else source, name), encoding="utf-8") as file:
        return file.read()


def drop_in_path(unit_directory: str, unit: str) -> str:
    """Where the drop-in of a unit lies that says what differs from host to host."""
    return f"{unit_directory}/{unit}.d/{_DROP_IN}"


def packaged_at(path: str) -> str:
    """Where a package brings a file that `render` has in /etc."""
    return path.replace("/etc/systemd/", "/usr/lib/systemd/", 1).replace("/etc/", "/usr/lib/", 1)


def lies_at(path: str) -> str:
    """Where systemd finds a file of the service: an administrator's goes before a package's of the same name."""
    packaged = packaged_at(path)
    return packaged if not os.path.lexists(path) and os.path.lexists(packaged) else path


def hidden_by(path: str) -> str | None:
    """Which setting of the system unit hides a path from the service, None when none does."""
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
    """A command for ExecStart=: as `quoted`, and `$` doubled but in the program's own path (systemd.service(5))."""
    program, *rest = words
    return " ".join([quoted(program), *(quoted(word.replace("$", "$$")) for word in rest)])


def _drop_in(host: Host, unit: str) -> str:
    program = (*host.command, *host.options)
    if unit == BACKFILL:
        settings = ["ExecStart=", f"ExecStart={command_line((*program, '--once', '--jobs', '1'))}"]
    else:
        settings = ["ExecStart=", f"ExecStart={command_line(program)}"]
        # A configuration that would be refused fails the reload, with each problem in the journal.
        settings += ["ExecReload=", f"ExecReload={command_line((*program, 'config', 'check'))}"]
        settings += ["ExecReload=kill -HUP $MAINPID"]
    if host.account is not None:
        settings += [*account_settings(host.account), *_paths(host)]
        settings += _metrics(host.metrics) if unit == SERVICE else []
    return header(unit, host) + "\n".join(settings) + "\n"


def header(unit: str, host: Host) -> str:
    """How a drop-in begins: whose it is, and where changes belong."""
    return _HEADER.format(unit=unit, user="--user " if host.account is None else "")


def account_settings(account: tuple[str, str]) -> list[str]:
    """Who the service runs as, when that is not its own user."""
    return [] if account == (USER, USER) else [f"User={account[0]}", f"Group={account[1]}"]


def _paths(host: Host) -> list[str]:
    """Open the roots (and only them) for writing, never for executing; `-`: one may not be there yet."""
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
    """Open what metrics need and nothing more: a directory to write the file in, a socket to listen at."""
    settings = [f"ReadWritePaths={quoted('-' + os.path.dirname(places.textfile))}"] if places.textfile else []
    if places.listen is None:
        return settings
    # The unit has no network at all; IPAddressAllow= names who may ask, which only for loopback is known here.
    known = places.listen.startswith(("127.", "localhost", "[::1]"))
    settings += ["PrivateNetwork=no", "RestrictAddressFamilies=AF_INET AF_INET6"]
    return [*settings, "IPAddressAllow=localhost" if known else "IPAddressDeny="]


def is_below(path: str, tops: Iterable[str]) -> bool:
    """Whether a path is one of `tops` or lies in one."""
    return any(path == top or path.startswith(f"{top}/") for top in tops)


PUSHER = "agentic-watch-push.service"


def files(host: Host, config: Config) -> dict[str, str]:
    """The unit and its drop-in, path → text; none when nothing is configured to be sent or run."""
    if not config.push and not config.hooks:
        return {}
    text = shipped(PUSHER if host.account is not None else f"user/{PUSHER}")
    unit, drop_in = push_paths(host.unit_directory)
    return {unit: text, drop_in: _push_drop_in(host, config)}


def push_paths(unit_directory: str) -> list[str]:
    """Where the two lie, whatever is in them."""
    return [f"{unit_directory}/{PUSHER}", drop_in_path(unit_directory, PUSHER)]


def _push_drop_in(host: Host, config: Config) -> str:
    options = [option for option in host.options if not option.startswith("--history=")]
    history = f"--history={host.history.replace('$', '$$')}"
    settings = ["ExecStart=", f"ExecStart={command_line((*host.command, *options, history, 'push', '--follow'))}"]
    if host.account is not None:
        settings += account_settings(host.account)
        # Whatever agents do there: what has a network sees none of it.
        settings += [f"InaccessiblePaths={quoted('-' + root)}" for root in host.roots]
        settings += _credentials(config.push)
        if not is_below(host.history, (STATE,)):
            settings.append(f"ReadWritePaths={quoted('-' + os.path.dirname(host.history))}")
    return header(PUSHER, host) + "\n".join(settings) + "\n"


def _credentials(targets: tuple[Target, ...]) -> Iterator[str]:
    """Secrets are read by systemd, so that their files can be root's alone."""
    from agentic_watch.fleet.credentials import credential_name  # only for who installs a service: 40 ms

    for target in targets:
        path = target.secret_file
        if path is not None and "/" in path:
            # Taken as it is but for the specifiers: quotes would be a part of the path.
            yield f"LoadCredential={credential_name(target)}:{path.replace('%', '%%')}"
