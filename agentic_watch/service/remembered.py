"""What a unit says, read back from its files: an upgrade must not change what was chosen when it was installed."""

from __future__ import annotations

import re
from collections.abc import Iterable
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
    return read_back([units.lies_at(units.drop_in_path(unit_directory, units.SERVICE))])


def read_back(files: Iterable[str]) -> Chosen:
    """What a unit's files say, in the order in which systemd reads them: the last word counts."""
    settings: dict[str, str] = {}
    for path in files:
        try:
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        said = (line.partition("=") for line in lines if not line.startswith("#"))
        settings.update((name, value) for name, equals, value in said if equals)
    return Chosen(settings.get("User"), tuple(_options(words(settings.get("ExecStart", "")))))


def _options(command: list[str]) -> Iterable[str]:
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
