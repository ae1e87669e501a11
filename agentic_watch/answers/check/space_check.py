"""Room for what is to be written: blocks and inodes below the history and each root."""

from __future__ import annotations

import os
from collections.abc import Iterator

from agentic_watch.answers.check.finding import Finding, Subject

_NAME = "space"
_LEAST_BYTES = 100 << 20
_LEAST_SHARE = 0.01


def space(subject: Subject) -> Iterator[Finding]:
    """At least 100 MiB and 1 % of the inodes, for the daemon's user (not root's reserve)."""
    low = False
    seen: set[int] = set()
    for path in (os.path.dirname(subject.config.history), *(root.path for root in subject.config.roots)):
        try:
            device, room = os.stat(path).st_dev, os.statvfs(path)
        except OSError:
            continue  # the checks of the roots and the history name it
        if device in seen:
            continue
        seen.add(device)
        free = room.f_bavail * room.f_frsize
        if free < _LEAST_BYTES:
            low = True
            yield Finding(_NAME, False, f"{path}: {free >> 20} MiB are free", "free disk space there")
        if room.f_files and room.f_favail < _LEAST_SHARE * room.f_files:
            low = True
            yield Finding(_NAME, False, f"{path}: {room.f_favail} of {room.f_files} inodes are free", "remove files")
    if not low:
        yield Finding(_NAME, True, f"{len(seen)} file system{'s' if len(seen) != 1 else ''}, enough free space")
