"""Turns inotify events into hints. The only package that imports watchdog."""

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RootState:
    """How one root is watched. `root` is its key; `watching` is inotify, poll, scanning, waiting (not available yet) or
    hanging.

    `hanging` counts file systems that do not answer: the root itself, or mounts below it.
    """

    root: str
    path: str
    watching: str
    watches: int
    detail: str = ""
    hanging: int = 0


_SYSCTLS = "/proc/sys/fs/inotify"


def inotify_limit(name: str) -> int | None:
    """fs.inotify.NAME, such as max_user_watches (inotify(7)); None where it cannot be read."""
    try:
        with open(os.path.join(_SYSCTLS, name), encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
