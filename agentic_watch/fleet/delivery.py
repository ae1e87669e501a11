"""What every kind of target does: take commits, and be told of the host that sends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from agentic_watch.fleet.fleet_errors import Poisonous, TimedOut
from agentic_watch.fleet.interchange import Commit
from agentic_watch.fleet.outbox import Largest


@dataclass(frozen=True, slots=True)
class Sender:
    """This host, as its targets know it."""

    host_id: str
    boot_id: str
    host: str
    version: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A commit that the target will never take, and why."""

    commit: Commit
    cause: str


class Delivery(Protocol):
    """An open way to one target. Every method raises Unavailable or Unusable; what was sent then is sent again.

    `deliver` raises TimedOut where less at a time may be taken.
    """

    largest: Largest
    """What it takes at a time."""

    def deliver(self, commits: Sequence[Commit]) -> list[Refusal]:
        """Send commits; once it returns, the target has all of them but the refused."""
        ...

    def answers(self) -> None:
        """Ask it for next to nothing, and return when it answered, whatever that was."""
        ...

    def report(self, pending: int, dead_letters: int) -> str | None:
        """Say how much is left; what a target without a place for it does not do. Gives a warning or None."""
        ...

    def close(self) -> None:
        """Leave nothing open."""
        ...


def send_halving(commits: Sequence[Commit], send: Callable[[Sequence[Commit]], None]) -> list[Refusal]:
    """Send all; where some are poisonous, halve until each of them stands alone. In order, the good ones too."""
    refused = []
    parts = [commits] if commits else []
    while parts:
        part = parts.pop()
        try:
            send(part)
        except Poisonous as error:
            if len(part) == 1:
                refused.append(Refusal(part[0], str(error)))
            else:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
    return refused


_QUARTER = 4
_FAST_SECONDS = 15.0
"""A batch that took less leaves room for a larger one."""
_LEAST_SHARE = 1e-6


class Pace:
    """What share of its largest batch a target is given: a quarter after a time-out, twice as much after a fast answer.

    Kept over several pushes, so that a slow target is not met with the largest batch each time.
    """

    def __init__(self) -> None:
        self._share = 1.0

    def batch(self, largest: Largest) -> Largest:
        """How much to send next; at least one commit."""
        return Largest(max(1, int(largest.commits * self._share)), max(1, int(largest.bytes * self._share)))

    def send(self, delivery: Delivery, commits: Sequence[Commit]) -> list[Refusal] | None:
        """Deliver a batch of this size; None when it was too much, and a smaller one is to be tried.

        A single commit that a target does not take in time, while it answers to less, is refused: it holds up no other.
        """
        began = time.monotonic()
        try:
            refusals = delivery.deliver(commits)
        except TimedOut as error:
            if len(commits) > 1:
                self._share = max(_LEAST_SHARE, min(self._share, len(commits) / delivery.largest.commits) / _QUARTER)
                return None
            delivery.answers()
            return [Refusal(commits[0], str(error))]
        if time.monotonic() - began < _FAST_SECONDS:
            self._share = min(1.0, self._share * 2)
        return refusals


def send_all(
    delivery: Delivery, commits: Sequence[Commit], pace: Pace
) -> Iterator[tuple[Sequence[Commit], list[Refusal]]]:
    """Deliver commits that are in hand, part by part, with what was refused of each."""
    start = 0
    while start < len(commits):
        part = commits[start : start + pace.batch(delivery.largest).commits]
        refusals = pace.send(delivery, part)
        if refusals is not None:
            start += len(part)
            yield part, refusals
