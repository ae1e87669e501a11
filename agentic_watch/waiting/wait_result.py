"""The result of waiting for a workspace."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from agentic_watch.answers import answer_shape
from agentic_watch.answers.past.outcomes import Outcome
from agentic_watch.config import Root
from agentic_watch.history.commit_lookup import NamedRow
from agentic_watch.workspace.candidate import Candidate, UnknownWorkspace, expected, here
from agentic_watch.workspace.status import Status

Wanted = tuple[Candidate, ...]
"""The place of a given workspace; while it does not exist, all places where it may appear."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """The newest run of a workspace at the end of the wait.

    `recorded`: it is finished and in the history, with this `outcome`. Otherwise `error` is the reason; `is_lost` means
    that it never will be recorded, `is_fault_of_host` that the host is the cause. `root` is the key of its root (None
    outside of the roots), `moved_to` the last known other place of its directory.
    """

    workspace: str
    root: str | None = None
    recorded: bool = False
    status: str | None = None
    outcome: Outcome | None = None
    question: str | None = None
    runs: int | None = None
    updated_at: str | None = None
    updated_utc: str | None = None
    committed_at: str | None = None
    commit_id: str | None = None
    moved_to: str | None = None
    error: str | None = None
    is_lost: bool = False
    is_fault_of_host: bool = False

    @property
    def has_passed(self) -> bool:
        """Whether the caller can continue: it neither failed nor waits for an answer."""
        return self.recorded and self.outcome not in ("failed", "waiting")


def wanted(roots: tuple[Root, ...], given: str, directory: str | None = None) -> Wanted:
    """Resolve a path (absolute, or relative to `directory`, by default the current one) or a name below a root; it need
    not exist yet. Raises UnknownWorkspace when it is below no root or cannot be a workspace."""
    places = expected(roots, given, here() if directory is None else directory)
    for place in places:
        if not place.name.isprintable():
            raise UnknownWorkspace(f"{given!a}: the name holds control characters")
    return places


def from_row(name: str, row: NamedRow, outcome: Outcome, place: str | None = None) -> Awaited:
    """The result of a workspace with a row; `place` is another name under which its directory was found."""
    moved_to = place or row.moved_to
    return Awaited(
        workspace=name,
        root=row.root,
        recorded=True,
        status=row.status,
        outcome=outcome,
        question=row.question or None,
        runs=row.runs,
        updated_at=row.updated_at,
        updated_utc=row.updated_utc,
        committed_at=row.committed_at,
        commit_id=row.commit_id,
        moved_to=moved_to if moved_to != name else None,
    )


def from_status(name: str, place: Candidate | None, said: Status | None) -> Awaited:
    """The result of a workspace from its status alone."""
    if said is None:
        return Awaited(name, None if place is None else place.root.key)
    return Awaited(
        workspace=name,
        root=None if place is None else place.root.key,
        status=said.status,
        question=said.question or None,
        runs=said.runs,
        updated_at=said.updated_at.text,
        updated_utc=said.updated_at.utc(),
        moved_to=place.name if place is not None and place.name != name else None,
    )


def document(one: Awaited) -> dict[str, Any]:
    """One object of the JSON of `wait`."""
    fields = dataclasses.asdict(one)
    del fields["is_lost"], fields["is_fault_of_host"]
    return {"schema": answer_shape.SCHEMA, **fields}
