"""Refuses to start when a root has a new key: committing under it would duplicate every row."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from agentic_watch.config import Config, ConfigError, Root
from agentic_watch.history import HistoryError, opening
from agentic_watch.history.rows import HOST

_USED = "SELECT 1 FROM dispatch_history WHERE root = ? AND host = ? LIMIT 1"


def refuse_renamed(config: Config) -> None:
    """Raise ConfigError when a root got a name after this host committed dispatches under its path.

    Does nothing when the history cannot be read now; lets HistoryRefused pass.
    """
    named = [root for root in config.roots if root.key != root.path]
    if named and (problems := list(_problems(config, named))):
        raise ConfigError(problems)


def _problems(config: Config, named: list[Root]) -> Iterator[str]:
    for root in _used_by_path(config.history, named):
        where = config.file or "roots"
        words = shlex.join(["agentic-watch", "rename-root", root.path, root.key])
        yield (
            f"{where}: the root {root.path} was given the name {root.key!r}, but the history has its dispatches "
            f"under the path and would record each twice; rename them first (`{words}`), or remove the name"
        )


def _used_by_path(history: str, named: list[Root]) -> list[Root]:
    try:
        with opening.reading(history) as connection:
            return [root for root in named if connection.execute(_USED, (root.path, HOST)).fetchone()]
    except HistoryError:
        return []
