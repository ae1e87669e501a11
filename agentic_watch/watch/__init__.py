"""What did the kernel say? Events become hints; the only import of watchdog."""

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
