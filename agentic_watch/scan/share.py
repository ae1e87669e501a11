"""Which workspaces are whose, when several processes look at one tree: each workspace has one owner."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """The part `number`, from 0, of `parts` by the names of the workspaces; for forks of one process, in which a text
    has the same hash everywhere."""

    number: int = 0
    parts: int = 1

    def has(self, name: str) -> bool:
        """Whether a workspace belongs to it."""
        return self.parts == 1 or hash(name) % self.parts == self.number


WHOLE = Share()
