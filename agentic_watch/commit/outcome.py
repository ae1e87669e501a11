"""The result of committing one workspace."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Busy, ErrorKind, Fault, Missing, WorkspaceError


class Verdict(StrEnum):
    """The kind of result. READING: the journal takes longer than the caller's time limit; call again. JOURNAL_ONLY:
    there is no status any more, and the journal was searched."""

    COMMITTED = "committed"
    SKIPPED = "skipped"
    UNFINISHED = "unfinished"
    BUSY = "busy"
    READING = "reading"
    FAILED = "failed"
    VANISHED = "vanished"
    JOURNAL_ONLY = "journal only"


class Outcome(NamedTuple):
    """The result for one workspace.

    `cause` is one line when it failed, `fault` and `kind` as in WorkspaceError. `history_error`: journal and marker are
    written but the row is not. `signature` is compared by the next scan (scan/walk.py); `journal` is the journal's
    signature when the history holds all of it; both are b"" when the workspace must be read again. `older` are the
    commit ids of journal lines that the history lacks and that are older than the last prune. `is_gone`: the workspace
    no longer exists. `is_replaced`: this finish was committed from memory, and the status file may have changed since.
    `ended`: a ghost was recorded, and the status file still says that it runs. `directory` is the workspace's inode
    (Place.inode, as text), "" when unknown. `tells_usage` is False when the report has no tokens or cost.
    """

    candidate: Candidate
    verdict: Verdict
    cause: str = ""
    fault: Fault = Fault.WORKSPACE
    kind: ErrorKind = ErrorKind.OTHER
    status: Status | None = None
    committed_at: str = ""
    recovered_rows: int = 0
    older: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    history_error: str = ""
    signature: bytes = b""
    journal: bytes = b""
    is_gone: bool = False
    is_replaced: bool = False
    ended: bool = False
    directory: str = ""
    tells_usage: bool = True


def failed(candidate: Candidate, error: WorkspaceError, warnings: tuple[str, ...] = ()) -> Outcome:
    """The outcome of a workspace that could not be committed."""
    if isinstance(error, Missing):
        return Outcome(candidate, Verdict.VANISHED, str(error), is_gone=True, warnings=warnings)
    verdict = Verdict.BUSY if isinstance(error, Busy) else Verdict.FAILED
    return Outcome(candidate, verdict, str(error), error.fault, error.kind, warnings=warnings)
