"""The end of a run that nobody wrote: what is recorded in place of a final status, and how that is known again.

It is made of the last status, and is a commit of its own: a nanosecond older than that status, so that whatever final
status comes later is another commit and a newer one.
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


class UnwrittenEnd(NamedTuple):
    """A run that is over by what this host knows; `said` is its status as it was read last. `is_removed`: its workspace
    went away while it ran, from the file system `device` (None when its number may have changed since)."""

    said: Status
    is_removed: bool = False
    device: int | None = None

    def is_of(self, status: Status) -> bool:
        """Whether a status is still the word after which nobody said any other."""
        mine, now = self.said, status
        same = (mine.status, mine.pid, mine.runs) == (now.status, now.pid, now.runs)
        return same and mine.updated_at.ns == now.updated_at.ns


def failed(said: Status, *, is_removed: bool) -> Status:
    """The status that is recorded; all but status, question and time is as it was said."""
    question = REMOVED if is_removed else _ENDED.format(said.pid)
    return said._replace(status=STATUS, question=question, updated_at=before(said.updated_at))


def before(updated_at: Instant) -> Instant:
    """The time of such an end: a nanosecond earlier; Go's zero time stays as it is."""
    return updated_at if updated_at.is_zero else instant.at(updated_at.ns - 1)


def is_unwritten(status: str, question: str) -> bool:
    """Whether a record is of such an end: when that came is not known, and so is how long the run took."""
    return status == STATUS and _SAYS_SO.fullmatch(question) is not None
