"""What became of a workspace, and what one commit still lacks. Pure: nothing here touches a file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agentic_watch.workspace.layout import Candidate
from agentic_watch.workspace.status import Status


class Verdict(StrEnum):
    """What became of a workspace."""

    COMMITTED = "committed"
    SKIPPED = "skipped"
    UNFINISHED = "unfinished"
    BUSY = "busy"
    FAILED = "failed"
    VANISHED = "vanished"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for one workspace.

    `cause` is one line when it failed, `lies_in_workspace` whether it is there (as in WorkspaceError).
    `history_error` says that journal and marker are done but the row is not. `signature` is what the next scan
    compares with (scan/look.py), `journal` the journal's signature when the history holds all of it; both b"" when
    the workspace must be read again.
    """

    candidate: Candidate
    verdict: Verdict
    cause: str = ""
    lies_in_workspace: bool = True
    status: Status | None = None
    committed_at: str = ""
    recovered_rows: int = 0
    warnings: tuple[str, ...] = ()
    history_error: str = ""
    signature: bytes = b""
    journal: bytes = b""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is missing for one commit."""

    append: bool
    insert: bool
    mark: bool
    committed_at: str

    @property
    def nothing(self) -> bool:
        """Whether all three records are there."""
        return not (self.append or self.insert or self.mark)


def decide(marked: bool, row: str | None, line: str | None, now: str) -> Plan:
    """Say what is missing, given what is there. Pure.

    `marked`: the marker has this identity. `row`, `line`: the committed_at of the history row and of the
    journal line with this identity, None when there is none (or the history cannot tell). A marker that
    neither confirms counts as none: an agent can forge it.
    """
    if marked and row is not None:
        return Plan(append=False, insert=False, mark=False, committed_at=row)
    if marked and line is not None:
        return Plan(append=False, insert=True, mark=False, committed_at=line)
    return Plan(append=line is None, insert=row is None, mark=True, committed_at=line or row or now)
