"""What the root command hands to its subcommands."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace

from agentic_watch.config import Config, Overrides, load


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

    def config_to_read(self) -> Config:
        """The configuration of a command that only reads the history: it may have no root. Raises ConfigError."""
        return load(replace(self.overrides, rootless=True), os.environ)

    def reload(self) -> Config:
        """Read the configuration anew."""
        return load(self.overrides, os.environ)
