"""How each root is watched, as the watcher tells it to the daemon and the daemon to everybody."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RootState:
    """How one root is watched. `root` is its key, `watching` inotify, poll, scanning, waiting (not there yet), hanging.

    `hanging` counts what does not answer: the root, or mounts below it.
    """

    root: str
    path: str
    watching: str
    watches: int
    detail: str = ""
    hanging: int = 0
