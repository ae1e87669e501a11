"""What became of a workspace: what is told to whoever asked for its commit."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Busy, ErrorKind, Fault, Missing, WorkspaceError


class Verdict(StrEnum):
    """What became of a workspace. READING: its journal takes longer than the caller has time for; ask again.
    JOURNAL_ONLY: it has no status any more, and its journal was looked through."""

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

    `cause` is one line when it failed, `fault` and `kind` as in WorkspaceError.
    `history_error` says that journal and marker are done but the row is not. `signature` is what the next scan
    compares with (scan/walk.py), `journal` the journal's signature when the history holds all of it; both b"" when
    the workspace must be read again. `older` are the commit ids of the journal's lines that the history lacks and
    that are as old as what was pruned. `is_gone`: the workspace is not there any more, whatever was done for it.
    `is_replaced`: this finish was committed from what was read of it, and the status file may say another one by now.
    `ended`: it is the end of a run that nobody wrote, and the status file goes on to say that it runs. `directory` is
    the workspace's (Place.inode, as text), "" when that is not known. Not `tells_usage`: its report has nothing of it.
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
