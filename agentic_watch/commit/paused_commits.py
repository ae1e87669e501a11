"""Commits that wait for the rest of their journal: their workspaces stay open and locked, so they are few."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from agentic_watch.commit.found import CommitState, HistoryState
from agentic_watch.commit.open_workspace import OpenWorkspace
from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.workspace.candidate import Candidate

_AT_MOST = 2
"""Each holds what the history and the journal say of one workspace."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A workspace in the middle of `finding` what is there of its commit."""

    workspace: OpenWorkspace
    known: HistoryState
    finding: Generator[None, None, CommitState]


class PausedCommits:
    """By workspace, what goes on when it is asked for again."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], Begun] = {}

    def keep(self, begun: Begun) -> Outcome:
        """Keep it for later; when there are too many, it has to begin anew then."""
        candidate = begun.workspace.candidate
        if len(self._begun) < _AT_MOST:
            self._begun[candidate.key] = begun
        else:
            begun.workspace.close()
        return Outcome(candidate, Verdict.READING, "has a long journal, which is being read")

    def take(self, candidate: Candidate) -> Begun | None:
        """What was begun of a workspace, None when nothing was."""
        return self._begun.pop(candidate.key, None)

    def close(self) -> None:
        """Let all go, and their locks with them."""
        for begun in self._begun.values():
            begun.workspace.close()
        self._begun.clear()
