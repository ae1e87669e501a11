"""A finish that was seen, and has gone from the disk before it was committed."""

from __future__ import annotations

import os

from agentic_watch.commit import moves
from agentic_watch.commit.insertion import HeldRows
from agentic_watch.commit.open_workspace import OpenWorkspace, open_as_seen
from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.commit.sightings import Sighting, Sightings, identity_now
from agentic_watch.config import Config
from agentic_watch.history import identities
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.identities import Asked
from agentic_watch.history.store import History
from agentic_watch.workspace import instant, record, report
from agentic_watch.workspace.layout import Candidate
from agentic_watch.workspace.place import Opener
from agentic_watch.workspace.workspace_errors import Missing

_GONE = "went away before it was committed: it is in the history, from what was read; it has neither line nor marker"


class ShortLived:
    """Opens workspaces for the finishes that were replaced, one after the other, and hears what became of them."""

    def __init__(self) -> None:
        self.sightings = Sightings()
        self._in_hand: set[tuple[str, str]] = set()

    def open(
        self, candidate: Candidate, opener: Opener, config: Config, history: History
    ) -> OpenWorkspace | Outcome | None:
        """The workspace with the oldest finish that its status file no longer says; None when there is no such finish.

        An Outcome when the workspace is gone, or cannot be opened now.
        """
        seen = self.sightings.of(candidate)
        if not seen:
            return None
        try:
            now = identity_now(candidate, config)
        except Missing:
            return self._record(candidate, seen, history)
        replaced = next((one for one in seen if one.identity != now), None)
        if replaced is None:
            return None
        self._in_hand.add((candidate.root.key, candidate.name))
        return open_as_seen(candidate, opener, config, replaced)

    def took(self, outcome: Outcome) -> bool:
        """Hear what became of a workspace; whether it is to be opened again now, for what else there is of it."""
        key = outcome.candidate.root.key, outcome.candidate.name
        was_seen = key in self._in_hand
        self._in_hand.discard(key)
        if outcome.is_gone:
            return was_seen
        if outcome.verdict in (Verdict.COMMITTED, Verdict.SKIPPED) and (status := outcome.status) is not None:
            self.sightings.drop(outcome.candidate, (status.updated_at.ns, status.runs))
            return was_seen
        return False

    def _record(self, candidate: Candidate, seen: list[Sighting], history: History) -> Outcome:
        """The rows of a workspace that is gone: the one case of rows without lines.

        When its whole root is away it may come back, and what was seen is kept for its lines.
        """
        rows, now = HeldRows(), instant.now_text()
        try:
            pruned_before = identities.pruned_before(history)
            for one in seen:
                pruned = one.marked and one.status.updated_at.utc() < pruned_before
                moved = self.sightings.was_moved(candidate, one) or _was_elsewhere(candidate, one, history)
                if not pruned and not moved:
                    content, _ = report.parse(one.report)
                    rows.add(record.from_status(candidate.name, one.status, content, now), candidate.root.key)
            new = history.insert(rows.take())
        except HistoryError as error:
            return Outcome(candidate, Verdict.BUSY, f"went away, and is not in the history yet ({error})")
        for one in seen if os.path.isdir(candidate.root.path) else ():
            self.sightings.drop(candidate, one.identity)
        if not new:
            return Outcome(candidate, Verdict.VANISHED, "is not there", is_gone=True)
        done = Outcome(candidate, Verdict.COMMITTED, status=seen[-1].status, committed_at=now, is_gone=True)
        return done._replace(warnings=(_GONE,))


def _was_elsewhere(candidate: Candidate, seen: Sighting, history: History) -> bool:
    """Whether this finish was committed under another name that is gone, too, or is what this workspace became.

    Its journal, which would tell, is gone with it; status, task and question of the row tell. Raises HistoryError.
    """
    status = seen.status
    asked = Asked(candidate.name, status.updated_at.utc(), status.runs, status.status, status.task, status.question)
    names = identities.named_otherwise(history, candidate.root.key, asked)
    return any(not moves.is_there(candidate, name) or moves.inode_of(candidate, name) == seen.inode for name in names)
