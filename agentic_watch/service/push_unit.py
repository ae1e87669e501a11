"""The pusher's unit: in place when something is to be pushed, and what of it differs from host to host."""

from __future__ import annotations

import os
from collections.abc import Iterator

from agentic_watch.config import Config, Target
from agentic_watch.fleet.credentials import credential_name
from agentic_watch.service import units
from agentic_watch.service.units import Host

PUSHER = "agentic-watch-push.service"


def files(host: Host, config: Config) -> dict[str, str]:
    """The unit and its drop-in, path → text; none when nothing is configured to be sent or run."""
    if not config.push and not config.hooks:
        return {}
    text = units.shipped(PUSHER if host.account is not None else f"user/{PUSHER}")
    unit, drop_in = paths(host.unit_directory)
    return {unit: text, drop_in: _drop_in(host, config)}


def paths(unit_directory: str) -> list[str]:
    """Where the two lie, whatever is in them."""
    return [f"{unit_directory}/{PUSHER}", units.drop_in_path(unit_directory, PUSHER)]


def _drop_in(host: Host, config: Config) -> str:
    options = [option for option in host.options if not option.startswith("--history=")]
    history = f"--history={host.history.replace('$', '$$')}"
    settings = ["ExecStart=", f"ExecStart={units.command_line((*host.command, *options, history, 'push', '--follow'))}"]
    if host.account is not None:
        settings += units.account_settings(host.account)
        # Whatever agents do there: what has a network sees none of it.
        settings += [f"InaccessiblePaths={units.quoted('-' + root)}" for root in host.roots]
        settings += _credentials(config.push)
        if not units.is_below(host.history, (units.STATE,)):
            settings.append(f"ReadWritePaths={units.quoted('-' + os.path.dirname(host.history))}")
    return units.header(PUSHER, host) + "\n".join(settings) + "\n"


def _credentials(targets: tuple[Target, ...]) -> Iterator[str]:
    """Secrets are read by systemd, so that their files can be root's alone."""
    for target in targets:
        path = target.secret_file
        if path is not None and "/" in path:
            # Taken as it is but for the specifiers: quotes would be a part of the path.
            yield f"LoadCredential={credential_name(target)}:{path.replace('%', '%%')}"
