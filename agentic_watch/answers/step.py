"""One step of an explanation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """`name` is status, finished, lock, marker, journal, row…; `holds` says whether it is as a committed dispatch has
    it (None: cannot be known), `says` why, in words."""

    name: str
    holds: bool | None
    says: str
