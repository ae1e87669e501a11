"""Commits that wait for the rest of their journal: their workspaces stay open and locked, so they are few."""

from __future__ import annotations

from agentic_watch.commit.journal_reading import JournalReading
from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.workspace.layout import Candidate

_AT_MOST = 2
"""Each holds what the history and the journal say of one workspace: up to 50 MiB."""


class PausedCommits:
    """By workspace, the reading that goes on when it is asked for again."""

    def __init__(self) -> None:
        self._readings: dict[tuple[str, str], JournalReading] = {}

    def keep(self, reading: JournalReading) -> Outcome:
        """Keep it for later; when there are too many, it has to begin anew then."""
        candidate = reading.workspace.candidate
        if len(self._readings) < _AT_MOST:
            self._readings[candidate.root.key, candidate.name] = reading
        else:
            reading.workspace.close()
        return Outcome(candidate, Verdict.READING, "has a long journal, which is being read")

    def take(self, candidate: Candidate) -> JournalReading | None:
        """The reading of a workspace, None when there is none."""
        return self._readings.pop((candidate.root.key, candidate.name), None)

    def close(self) -> None:
        """Let all go, and their locks with them."""
        for reading in self._readings.values():
            reading.workspace.close()
        self._readings.clear()
