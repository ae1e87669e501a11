"""What every kind of target does: take commits, and be told of the host that sends them.

What can be wrong with a target, and what that means for the next attempt.

No wait without an end: a peer that says nothing, or a byte now and then, is cut off from outside.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from agentic_watch.fleet.interchange import Commit
from agentic_watch.fleet.outbox import Largest


class Unavailable(Exception):
    """The target cannot be reached or will not answer now: tried again later.

    `retry_after` is how many seconds it asked for, None when it said nothing.
    """

    def __init__(self, cause: str, retry_after: float | None = None) -> None:
        super().__init__(cause)
        self.retry_after = retry_after


class TimedOut(Unavailable):
    """The target did not end what it was given in time: given less at once, it may."""


class Unusable(Exception):
    """The target refuses us until an operator changes something; the text says what."""


class Poisonous(Exception):
    """The target will never take one of these commits, for what is in it; the others wait for nobody."""


def one_line(error: object) -> str:
    """What somebody said, as one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 500 else f"{text[:499]}…"


@contextlib.contextmanager
def cut_after(seconds: float, cut: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Call `cut` from another thread unless the block ends in time; what it yields says whether that happened.

    Libraries bound each read, not the sum of them: what reads has to find its connection closed.
    """
    fired = threading.Event()

    def fire() -> None:
        fired.set()
        with contextlib.suppress(OSError):
            cut()

    timer = threading.Timer(seconds, fire)
    timer.daemon = True
    timer.start()
    try:
        yield fired.is_set
    finally:
        timer.cancel()
        timer.join()


SLOWEST_BYTES_A_SECOND = 16 * 1024


def longest(seconds: float, commits: int, size: int) -> float:
    """How long a batch may take: so many seconds, and a single commit as long as a slow link needs for its bytes."""
    return seconds + (size / SLOWEST_BYTES_A_SECOND if commits == 1 else 0.0)


def shut(descriptor: int) -> None:
    """Shut a connected socket down, so that whoever waits for it reads its end. Raises OSError."""
    with socket.socket(fileno=os.dup(descriptor)) as same:
        same.shutdown(socket.SHUT_RDWR)


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
