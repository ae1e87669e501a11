"""The record of a ghost: a run that ended without a final status.

It is made from the last status with a time one nanosecond earlier, so that a final status that arrives later is a
separate, newer commit.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from agentic_watch.workspace import instant
from agentic_watch.workspace.instant import Instant
from agentic_watch.workspace.status import Status

STATUS = "failed"
REMOVED = "removed while it ran"
_ENDED = "process {} ended without a final status"
_SAYS_SO = re.compile(_ENDED.format("[0-9]{1,10}") + "|" + REMOVED, re.ASCII)


class GhostRun(NamedTuple):
    """A run whose process is gone; `said` is its last status. `is_removed`: its workspace was removed while it ran,
    from the file system `device` (None when the number may have changed since)."""

    said: Status
    is_removed: bool = False
    device: int | None = None

    def is_of(self, status: Status) -> bool:
        """Whether a status is still the last one of this run."""
        mine, now = self.said, status
        same = (mine.status, mine.pid, mine.runs) == (now.status, now.pid, now.runs)
        return same and mine.updated_at.ns == now.updated_at.ns


def failed(said: Status, *, is_removed: bool) -> Status:
    """The status to record: status, question and time are replaced, the rest is copied."""
    question = REMOVED if is_removed else _ENDED.format(said.pid)
    return said._replace(status=STATUS, question=question, updated_at=before(said.updated_at))


def before(updated_at: Instant) -> Instant:
    """The time of a ghost's record: one nanosecond earlier; Go's zero time is unchanged."""
    return updated_at if updated_at.is_zero else instant.at(updated_at.ns - 1)


def is_ghost_record(status: str, question: str) -> bool:
    """Whether a record is that of a ghost: its end, and so its duration, is unknown."""
    return status == STATUS and _SAYS_SO.fullmatch(question) is not None
