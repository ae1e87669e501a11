"""Which [[push]] target an option names."""

from __future__ import annotations

import difflib

import click

from agentic_watch.cli.exit_status import Misconfigured
from agentic_watch.config import Config, Target


def named(config: Config, name: str, option: str) -> Target:
    """The target of this name. Raises Misconfigured where there is none at all, else click.BadParameter."""
    require_some(config)
    for target in config.push:
        if target.name == name:
            return target
    known = [target.name for target in config.push]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known) or 'none'}"
    raise click.BadParameter(f"no [[push]] has the name {name!r}; {hint}", param_hint=option)


def readable(config: Config, name: str) -> Target:
    """The target of this name if it can be asked. Raises as `named`."""
    target = named(config, name, "--fleet")
    if target.kind != "postgres":
        raise click.BadParameter(f"{name} is of kind {target.kind}; only postgres can be asked", param_hint="--fleet")
    return target


def require_some(config: Config) -> None:
    """Raises Misconfigured where nothing is configured to be sent anywhere."""
    if not config.push and not config.hooks:
        where = config.file or "no configuration file"
        raise Misconfigured(f"{where}: there is no [[push]] target; config.example.toml shows one")
