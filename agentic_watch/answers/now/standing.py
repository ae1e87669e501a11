"""What stands of one workspace now, and the forms it comes from: the index, the disk, an error."""

from __future__ import annotations

from typing import Any, NamedTuple

from agentic_watch.history.workspaces_table import WorkspaceRow
from agentic_watch.inventory.ghosts import is_ghost, named_at
from agentic_watch.workspace import instant
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.status import Status

Facts = tuple[str, str, str, str, int, int, str, str]
"""What a status file says, as plain as a second process can hand it over: Standing's fields from `status` on."""


class WorkspaceSnapshot(NamedTuple):
    """What stands of one workspace now.

    `root` is the root's key, `started_at` and `updated_at` are the texts of the status file ("" when not known or
    unset), `next_attempt_at` is in seconds since the epoch. `committed` is None when the history cannot tell. A broken
    one has a `last_error`, and no `status` when that could not be read. A directory that could not be looked into
    stands here with its `last_error` too; `workspace` is "" when it is the root itself.
    """

    root: str
    workspace: str
    status: str = ""
    agent: str = ""
    repo: str = ""
    question: str = ""
    pid: int = 0
    runs: int = 0
    started_at: str = ""
    updated_at: str = ""
    committed: bool | None = False
    ghost: bool = False
    fail_count: int = 0
    next_attempt_at: float | None = None
    last_error: str | None = None

    @property
    def started_utc(self) -> str | None:
        """When this dispatch began, as the history writes it; None when not known."""
        return instant.parse(self.started_at).utc() if self.started_at else None

    @property
    def updated_utc(self) -> str | None:
        """When its status was last written, as the history writes it; None when not known."""
        return instant.parse(self.updated_at).utc() if self.updated_at else None


def facts(status: Status) -> Facts:
    """The part of a status that a survey shows."""
    started_at = "" if status.started_at.is_zero else status.started_at.text
    updated_at = "" if status.updated_at.is_zero else status.updated_at.text
    return status.status, status.agent, status.repo, status.question, status.pid, status.runs, started_at, updated_at


def from_disk(
    candidate: Candidate, state: WorkspaceRow | None, found: Facts, *, committed: bool | None
) -> WorkspaceSnapshot:
    """One that was read just now; `state` is what the index knows of it."""
    return WorkspaceSnapshot(
        candidate.root.key,
        candidate.name,
        *found,
        committed=committed,
        ghost=is_ghost(found[0], found[4], _named_at(found)),
        fail_count=state.fail_count if state else 0,
        next_attempt_at=state.next_attempt_at if state else None,
        last_error=state.last_error if state else None,
    )


def _named_at(found: Facts) -> int | None:
    started_at, updated_at = (instant.parse(text or instant.ZERO_TEXT) for text in found[-2:])
    return named_at(started_at, updated_at)


def from_index(row: tuple[Any, ...]) -> WorkspaceSnapshot:
    """One that is committed and has not changed since; `row` is as workspaces_table.whole has it."""
    root, workspace, status, agent, repo, question, pid, runs, updated_at, _signature = row
    # A process can end without a word in any file: this is asked anew each time.
    ghost = is_ghost(status, pid)
    return WorkspaceSnapshot(root, workspace, status, agent, repo, question, pid, runs, "", updated_at, True, ghost)


def broken(candidate: Candidate, state: WorkspaceRow | None, error: str) -> WorkspaceSnapshot:
    """One whose status cannot be read."""
    return WorkspaceSnapshot(
        candidate.root.key,
        candidate.name,
        fail_count=state.fail_count if state else 0,
        next_attempt_at=state.next_attempt_at if state else None,
        last_error=error,
    )
