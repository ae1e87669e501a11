"""What was chosen when the service was installed, read back from the drop-in: an upgrade must not change it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from agentic_watch.config import Overrides
from agentic_watch.service import units

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


@dataclass(frozen=True, slots=True)
class Chosen:
    """The account (None: the service's own, or nothing is installed) and the options of the service's command."""

    run_as: str | None = None
    options: tuple[str, ...] = ()

    def overrides(self) -> Overrides:
        """The options as the command line would have said them."""
        given = [option.partition("=")[::2] for option in self.options]
        said = dict(given)
        return Overrides(
            config=said.get("--config"),
            roots=tuple(value for name, value in given if name == "--root"),
            history=said.get("--history"),
            log_format=said.get("--log-format"),
        )


def chosen(unit_directory: str) -> Chosen:
    """What the installed drop-in says; nothing when there is none, or none that can be read."""
    try:
        with open(os.path.join(units.drop_in_path(unit_directory, units.SERVICE)), encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return Chosen()
    settings = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    options = tuple(word for word in words(settings.get("ExecStart", "")) if word.startswith("--"))
    return Chosen(settings.get("User"), options)


def words(line: str) -> list[str]:
    """The words of a command as `units.command_line` wrote them."""
    found: list[str] = []
    for match in _WORD.finditer(line):
        word = re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[2]
        word = word.replace("%%", "%")
        found.append(word.replace("$$", "$") if found else word)
    return found
