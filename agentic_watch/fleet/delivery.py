"""What every kind of target does: take commits, and be told of the host that sends them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agentic_watch.fleet.fleet_errors import Poisonous
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
    """An open way to one target. Every method raises Unavailable or Unusable; what was sent then is sent again."""

    largest: Largest
    """What it takes at a time."""

    def deliver(self, commits: Sequence[Commit]) -> list[Refusal]:
        """Send commits; once it returns, the target has all of them but the refused."""
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
