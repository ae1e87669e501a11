"""The workspaces that are open, locked and written together."""

from __future__ import annotations

import functools
import resource
from collections import deque
from collections.abc import Sequence

from agentic_watch.commit.examine import HELD_BYTES
from agentic_watch.commit.plan import Outcome
from agentic_watch.commit.work import Work

_AT_MOST = 64
_OPEN_EACH = 8
"""Descriptors for each workspace of a batch: three while it is read, three until its line is durable, and one for
each of the two batches whose markers are under way."""
_OPEN_ELSEWHERE = 64


@functools.cache
def _most() -> int:
    """Workspaces in a batch, so that all batches under way stay below the soft limit of descriptors."""
    try:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except OSError:  # a strict seccomp filter
        return _AT_MOST
    if soft == resource.RLIM_INFINITY:
        return _AT_MOST
    return max(1, min(_AT_MOST, (soft - _OPEN_ELSEWHERE) // _OPEN_EACH))


class Batch:
    """Prepared work, up to a bound in number and in bytes held in memory."""

    def __init__(self) -> None:
        self._works: deque[Work] = deque()

    def add(self, work: Work) -> None:
        """Take in one more."""
        self._works.append(work)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not self._works

    @property
    def is_full(self) -> bool:
        """Whether it should be written before more is added."""
        return len(self._works) >= _most()

    @property
    def is_heavy(self) -> bool:
        """Whether it holds so much in memory that no other should be begun beside it."""
        return sum(work.weight for work in self._works) > HELD_BYTES // 8

    def take(self) -> Work | None:
        """Hand over one of them; None when there is none left."""
        return self._works.popleft() if self._works else None

    def all(self) -> Sequence[Work]:
        """All of them."""
        return self._works

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
