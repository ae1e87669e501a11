"""The global options, accepted before and after each command, their combined state, and option types for spans and
whole numbers.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from agentic_watch.cli import messages

if TYPE_CHECKING:  # not needed for --version, --help and completion
    from agentic_watch.config import Config, Overrides


class State:
    """The values of the global options; the configuration is read on first use.

    `verbosity` counts each -v as 1 and each -q as -1. `fleet` is the target to query instead of this host.
    """

    def __init__(self, overrides: Overrides | None = None) -> None:
        from agentic_watch.config import Overrides  # late: not needed for --version and --help

        self.overrides = overrides or Overrides()
        self.verbosity = 0
        self.fleet = ""
        self._config: Config | None = None

    def config(self) -> Config:
        """The effective configuration. Raises ConfigError and NoRootsError as `config.load` does."""
        if self._config is None:
            self._config = self.reload()
            messages.choose(self._config.log.format)
        return self._config

    def config_to_read(self) -> Config:
        """The configuration for a command that only reads the history, possibly without roots. Raises ConfigError."""
        from agentic_watch.config import load

        config = load(self.overrides._replace(rootless=True), os.environ)
        messages.choose(config.log.format)
        return config

    def reload(self) -> Config:
        """Read the configuration again."""
        from agentic_watch.config import load

        return load(self.overrides, os.environ)

    def committing(self) -> Config:
        """The configuration for commands that commit.

        Raises ConfigError also if rows would be duplicated, HistoryRefused for a history that must not be used.
        """
        # late: not every command needs sqlite3
        from agentic_watch.history.history_file import refuse_foreign
        from agentic_watch.inventory.renamed_roots import refuse_renamed

        config = self.config()
        with contextlib.suppress(OSError):  # an unreadable one is reported on use
            refuse_foreign(config.history)
        refuse_renamed(config)
        return config

    def reload_committing(self) -> Config:
        """`committing`, after reading the configuration again."""
        self._config = None
        return self.committing()


def options(*, hidden: bool = False) -> list[click.Parameter]:
    """New global options for one command."""
    formats = click.Choice(["auto", "text", "json"])
    return [
        _option("--config", _named, hidden, metavar="FILE", help="Configuration file (TOML)."),
        _option(
            "--root", _add_roots, hidden, metavar="DIR", multiple=True, help="Root directory to watch; repeatable."
        ),
        _option("--history", _named, hidden, metavar="FILE", help="History of this host (SQLite file)."),
        _option("-v --verbose", _louder, hidden, count=True, help="Log more (-vv: debug)."),
        _option("-q --quiet", _quieter, hidden, count=True, help="Log less (-q: warnings, -qq: errors only)."),
        _option("--log-format", _log_format, hidden, type=formats, help="Log format on stderr."),
    ]


def take_everywhere(command: click.Command) -> None:
    """Add the global options to a command and its subcommands; a command's own option takes precedence."""
    taken = {name for parameter in command.params for name in parameter.opts}
    command.params += [option for option in options(hidden=True) if not taken & set(option.opts)]
    for inner in command.commands.values() if isinstance(command, click.Group) else ():
        take_everywhere(inner)


_Take = Callable[[State, str, Any], None]


def _option(names: str, take: _Take, hidden: bool, **attributes: Any) -> click.Option:
    def callback(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        state = ctx.ensure_object(State)
        if value:
            assert parameter.name is not None
            take(state, parameter.name, value)

    return click.Option(names.split(), expose_value=False, callback=callback, hidden=hidden, **attributes)


def _named(state: State, name: str, value: str) -> None:
    changed: dict[str, Any] = {name: value}
    state.overrides = state.overrides._replace(**changed)


def _add_roots(state: State, _name: str, value: tuple[str, ...]) -> None:
    state.overrides = state.overrides._replace(roots=(*state.overrides.roots, *value))


def _louder(state: State, _name: str, value: int) -> None:
    state.verbosity += value


def _quieter(state: State, _name: str, value: int) -> None:
    state.verbosity -= value


def _log_format(state: State, name: str, value: str) -> None:
    _named(state, name, value)
    messages.choose(value)


class Seconds(click.ParamType[float]):
    """A span in seconds: `90`, `90s`, `30m`, `2h`, `7d`."""

    name = "SPAN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from agentic_watch.cli.output import clean
        from agentic_watch.config.value_checks import span_seconds  # late: imports config/

        if isinstance(value, float):
            return value
        if match := re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)s?", value, re.ASCII):
            return float(match[1])
        try:
            return float(span_seconds(value))
        except ValueError:
            self.fail(f"{clean(value)!r} is not a span such as 90s, 30m, 2h or 1d", param, ctx)


_MOST = 2**62


class Whole(click.IntRange):
    """A whole number with a minimum; values over SQLite's maximum are rejected, which the help does not mention."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. Fails as a usage error."""
        number = super().convert(value, param, ctx)
        if number > _MOST:
            self.fail(f"{number} is too large", param, ctx)
        return number
