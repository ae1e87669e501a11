"""The interface of all push targets, their errors and what these mean for the next attempt, batch sizes, and time
limits against silent or slow peers.
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
    """The target is not reachable or does not answer now: retried later.

    `retry_after` is the pause in seconds that it requested, else None.
    """

    def __init__(self, cause: str, retry_after: float | None = None) -> None:
        super().__init__(cause)
        self.retry_after = retry_after


class TimedOut(Unavailable):
    """The target did not finish a batch in time; a smaller one may succeed."""


class Unusable(Exception):
    """The target rejects us until an operator changes something; the text says what."""


class Poisonous(Exception):
    """The target will never accept one of these commits because of its content; the others are sent without it."""


def one_line(error: object) -> str:
    """An error message as one line of limited length."""
    text = " ".join(str(error).split())
    return text if len(text) <= 500 else f"{text[:499]}…"


@contextlib.contextmanager
def cut_after(seconds: float, cut: Callable[[], None]) -> Iterator[Callable[[], bool]]:
    """Call `cut` from another thread unless the block ends in time; yields a function that tells whether it was called.

    Libraries limit each read, but not their sum: `cut` closes the connection under the reader.
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
    """Time limit of a batch; for a single commit at least the time that a slow link needs for its size."""
    return seconds + (size / SLOWEST_BYTES_A_SECOND if commits == 1 else 0.0)


def shut(descriptor: int) -> None:
    """Shut down a connected socket, so that a waiting reader gets end of file. Raises OSError."""
    with socket.socket(fileno=os.dup(descriptor)) as same:
        same.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class Sender:
    """This host, as identified to its targets."""

    host_id: str
    boot_id: str
    host: str
    version: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A commit that the target rejected for good, and why."""

    commit: Commit
    cause: str


class Delivery(Protocol):
    """An open connection to one target. Every method raises Unavailable or Unusable; commits sent then are sent again.

    `deliver` raises TimedOut when a smaller batch may succeed.
    """

    largest: Largest
    """The largest batch that it accepts."""

    def deliver(self, commits: Sequence[Commit]) -> list[Refusal]:
        """Send commits; when it returns, the target has all except the returned refusals."""
        ...

    def answers(self) -> None:
        """Make a minimal request, and return after any answer."""
        ...

    def report(self, pending: int, dead_letters: int) -> str | None:
        """Report the backlog, if the target stores it. Returns a warning or None."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


def send_halving(commits: Sequence[Commit], send: Callable[[Sequence[Commit]], None]) -> list[Refusal]:
    """Send all commits in order; on Poisonous, halve the batch until the rejected commits are isolated."""
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
"""After a batch faster than this, the next one may be larger."""
_LEAST_SHARE = 1e-6


class Pace:
    """Adapts the batch size: a quarter after a time-out, doubled after a fast answer.

    Kept over several pushes, so that a slow target does not get the largest batch each time.
    """

    def __init__(self) -> None:
        self._share = 1.0

    def batch(self, largest: Largest) -> Largest:
        """The size of the next batch; at least one commit."""
        return Largest(max(1, int(largest.commits * self._share)), max(1, int(largest.bytes * self._share)))

    def send(self, delivery: Delivery, commits: Sequence[Commit]) -> list[Refusal] | None:
        """Deliver a batch; None when it was too large and a smaller one has to be tried.

        A single commit that times out while the target answers smaller requests is refused, so that it does not block
        others.
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
    """Deliver given commits in batches; yields each batch with its refusals."""
    start = 0
    while start < len(commits):
        part = commits[start : start + pace.batch(delivery.largest).commits]
        refusals = pace.send(delivery, part)
        if refusals is not None:
            start += len(part)
            yield part, refusals
