"""The workspaces that are open, locked and written together."""

from __future__ import annotations

from agentic_watch.commit.examine import HELD_BYTES
from agentic_watch.commit.plan import Outcome
from agentic_watch.commit.work import Work

_AT_MOST = 64
"""Workspaces in a batch. Two batches are open at a time, with three descriptors each at most: 384, far below the
usual soft limit of 1024."""


class Batch:
    """Prepared work, up to a bound in number and in bytes held in memory."""

    def __init__(self) -> None:
        self._works: list[Work] = []
        self._held = 0

    def add(self, work: Work) -> None:
        """Take in one more."""
        self._works.append(work)
        self._held += work.weight

    @property
    def is_full(self) -> bool:
        """Whether it should be written before more is added."""
        return len(self._works) >= _AT_MOST or self._held > HELD_BYTES

    def sound(self) -> list[Work]:
        """Those that have not failed."""
        return [work for work in self._works if work.error is None]

    def writing(self) -> list[Work]:
        """Those of them that lack a line or a marker."""
        return [work for work in self.sound() if work.plan is not None and work.plan.mark]

    def finish(self) -> list[Outcome]:
        """What became of each; closes all."""
        outcomes = [work.outcome() for work in self._works]
        self.close()
        return outcomes

    def close(self) -> None:
        """Close all, which releases their locks."""
        for work in self._works:
            work.close()
        self._works.clear()
