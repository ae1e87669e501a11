"""The answer of a commit, on the command line and over MCP: the document of core-agent's tool, and the cause of a
failure."""

from __future__ import annotations

import os
import time
from typing import TypedDict

from agentic_watch.commit.committer import Committer
from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.workspace import layout
from agentic_watch.workspace.candidate import Candidate

_BUSY_SECONDS = 2.0
_BUSY_PAUSE_SECONDS = 0.1


class CommitAnswer(TypedDict):
    """core-agent's document; paths and time are "" after a failure."""

    success: bool
    workspace: str
    journal_path: str
    marker_path: str
    committed_at: str
    skipped: bool


def when_free(committer: Committer, candidate: Candidate, *, force: bool = False) -> Outcome:
    """Commit a workspace; while another process holds it, retry briefly."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while (outcome := committer.commit(candidate, force=force)).verdict is Verdict.BUSY and time.monotonic() < deadline:
        time.sleep(_BUSY_PAUSE_SECONDS)
    return outcome


def answer(workspace: str, outcome: Outcome | None) -> CommitAnswer:
    """The document for `workspace` (its printable name); `outcome` is None when it was not found."""
    success = outcome is not None and outcome.verdict in (Verdict.COMMITTED, Verdict.SKIPPED)
    directory = os.path.join(outcome.candidate.root.path, outcome.candidate.name) if outcome else ""
    return {
        "success": success,
        "workspace": workspace,
        "journal_path": os.path.join(directory, layout.META_JOURNAL) if success else "",
        "marker_path": os.path.join(directory, layout.META_MARKER) if success else "",
        "committed_at": outcome.committed_at if outcome else "",
        "skipped": outcome is not None and outcome.verdict is Verdict.SKIPPED,
    }


def failure(outcome: Outcome) -> str:
    """Why there is no commit, in one line that begins with the workspace's name; "" after a commit."""
    name = outcome.candidate.name
    if outcome.verdict is Verdict.UNFINISHED and outcome.status is not None:
        return f"{name}: is {outcome.status.status}, which is not finished"
    return f"{name}: {outcome.cause}" if outcome.cause else ""


def doubts(outcome: Outcome) -> list[str]:
    """Warnings of a commit, one line each, beginning with the workspace's name."""
    name = outcome.candidate.name
    lines = [f"{name}: {warning}" for warning in outcome.warnings]
    if outcome.history_error:
        lines.append(f"{name}: no history row yet ({outcome.history_error}); the next run adds it")
    return lines
