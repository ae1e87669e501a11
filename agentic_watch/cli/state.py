"""What the root command hands to its subcommands."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import click

from agentic_watch.config import Config, Overrides, load

EXIT_FAILED = 1


class Refused(click.ClickException):
    """A foreseeable end: one message on stderr, exit status 1."""


class Held(Refused):
    """Another daemon holds the history: exit status 75 (EX_TEMPFAIL of sysexits.h)."""

    exit_code = 75


class Misconfigured(Refused):
    """Configuration that cannot be used: exit status 78 (EX_CONFIG of sysexits.h)."""

    exit_code = 78


@dataclass(slots=True)
class State:
    """The global options; the configuration is read when a command first asks for it.

    `verbosity` counts each -v as 1 and each -q as -1.
    """

    overrides: Overrides
    verbosity: int = 0
    _config: Config | None = field(default=None, init=False, repr=False)

    def config(self) -> Config:
        """The effective configuration. Raises ConfigError and NoRootsError as `config.load` does."""
        if self._config is None:
            self._config = self.reload()
        return self._config

    def reload(self) -> Config:
        """Read the configuration anew."""
        return load(self.overrides, os.environ)
