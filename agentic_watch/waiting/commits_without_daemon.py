"""Commits finished workspaces during a `wait` when no daemon runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from agentic_watch.answers.now import commit_answer
from agentic_watch.commit.committer import NOT_KEPT, Committer
from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.config import Config
from agentic_watch.daemon.daemon_state import Liveness, pulse
from agentic_watch.history.store import History
from agentic_watch.waiting.awaited_workspace import AwaitedWorkspace
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Fault

log = logging.getLogger("agentic_watch.wait")

_ASK_SECONDS = 1.0
_PAUSES_SECONDS = (1.0, 2.0, 4.0)
"""Pauses after failed attempts to commit a workspace; after the last one `wait` gives up on it."""
_BUSY_SECONDS = 0.2
_AGAIN_SECONDS = 0.5


class Attempt(NamedTuple):
    """The result of committing a workspace here. `cause` is the error, or "" if the status `said` was committed at
    `committed_at`. `is_final`: no further attempts."""

    said: Status | None
    committed_at: str = ""
    cause: str = ""
    is_fault_of_host: bool = False
    is_final: bool = False
    tries: int = 0
    next_at: float = 0.0


class OwnCommits:
    """Commits while no daemon runs. The history is opened at the first commit; call `close` at the end."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._history = History(config.history)
        self._committer = Committer(config, self._history)
        self._asked_at = 0.0
        self._are_ours = False
        self._looked_at: set[Candidate] = set()
        self.attempts: dict[AwaitedWorkspace, Attempt] = {}

    def close(self) -> None:
        """Close the history."""
        self._committer.close()
        self._history.close()

    def are_ours(self) -> bool:
        """Whether this process has to commit: no daemon runs, or it hangs. False when unknown."""
        now = time.monotonic()
        if not self._asked_at or now - self._asked_at >= _ASK_SECONDS:
            self._asked_at = now
            self._are_ours = pulse(self._config.history)[0] in (Liveness.STOPPED, Liveness.STALE)
        return self._are_ours

    def until_due(self, one: AwaitedWorkspace) -> float | None:
        """Seconds until a finished workspace is due; None when there is nothing to commit.

        It waits for the settle time like the daemon, because a report may follow the status.
        """
        if (one.finished_at is None and one.gone_at is None) or one.at is None or one.said is None:
            return None
        last = self.attempts.get(one)
        now, settle = time.monotonic(), self._config.settle_seconds
        if one.finished_at is None:
            # Removed: if its finish was seen, its row is inserted at once, by one attempt.
            return 0.0 if one.at in self._looked_at else None
        quiet = one.changed_at + settle - time.time()
        due = min(quiet, one.finished_at + 5 * settle - now)
        return max(0.0, due, last.next_at - now if last is not None else 0.0)

    def look_ahead(self, one: AwaitedWorkspace) -> None:
        """Read the status of a finished workspace ahead of its commit, in case it is removed meanwhile."""
        if one.at is not None and one.finished_at is not None:
            for lost in self._committer.look_ahead(one.at):
                log.warning("%s: %s", lost.name, NOT_KEPT)
            self._looked_at.add(one.at)

    def commit(self, due: Sequence[AwaitedWorkspace]) -> None:
        """Commit workspaces; results are in `attempts`."""
        by_place = {one.at.key: one for one in due if one.at is not None}
        places = [one.at for one in by_place.values() if one.at is not None]
        self._looked_at.difference_update(places)
        for outcome in self._committer.commit_each(places):
            self._note(by_place[outcome.candidate.key], outcome)
        for notice in self._history.notices:
            log.warning("%s", notice)
        self._history.notices.clear()

    def _note(self, one: AwaitedWorkspace, outcome: Outcome) -> None:
        for warning in outcome.warnings:
            log.warning("%s: %s", outcome.candidate.name, warning)
        last, now = self.attempts.get(one), time.monotonic()
        tries = last.tries if last is not None else 0
        cause = outcome.history_error or (commit_answer.failure(outcome) and outcome.cause)
        if outcome.verdict is Verdict.BUSY and outcome.fault is Fault.WORKSPACE:
            attempt = Attempt(None, cause=outcome.cause, tries=tries, next_at=now + _BUSY_SECONDS)
        elif cause:
            attempt = Attempt(
                None,
                cause=cause,
                is_fault_of_host=bool(outcome.history_error) or outcome.fault is not Fault.WORKSPACE,
                is_final=tries >= len(_PAUSES_SECONDS),
                tries=tries + 1,
                next_at=now + _PAUSES_SECONDS[min(tries, len(_PAUSES_SECONDS) - 1)],
            )
        elif outcome.verdict in (Verdict.COMMITTED, Verdict.SKIPPED):
            attempt = Attempt(outcome.status, outcome.committed_at, next_at=now + _AGAIN_SECONDS)
        else:
            attempt = Attempt(None, next_at=now + _AGAIN_SECONDS)
        self.attempts[one] = attempt
