"""What is due is committed, and what came of it decides when a workspace is looked at again."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator

from agentic_watch.commit import Committer, Outcome, Verdict
from agentic_watch.commit.patience import Patience
from agentic_watch.daemon.fresh_start import FreshStart
from agentic_watch.daemon.health import Health
from agentic_watch.daemon.outcome_log import OutcomeLog
from agentic_watch.daemon.pending import Pending
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.inventory.retries import BACKOFF_SECONDS, HostFaults
from agentic_watch.workspace.layout import Candidate

GROUP = 64
_JOURNAL_SECONDS = 0.1
"""What a turn may spend on long journals, and then on everything else before it goes on with them."""
_IS_BEING_REMOVED = os.strerror(errno.ENOENT)
"""A failure for this cause is not worth a word before the next attempt: by then the workspace is gone."""
_NEWS_EVERY = 4
_AT_LEAST = 8
_AT_MOST = 16
_LATELY_SECONDS = 1.0
"""While events tell of something now and then, what was found by looking is done so few at a time."""
_TURN_SECONDS = 1.0
_BUSY_SECONDS = 0.5
_LONGEST_BUSY_SECONDS = 15.0
_BUSY_TRIES_BEFORE_WORD = 6


class DueCommits:
    """Used from the loop's thread. `fresh` says which failing ones are tried whatever their back-off says."""

    def __init__(self, committer: Committer, pending: Pending, last_seen: LastSeen, health: Health) -> None:
        self._committer = committer
        self._pending = pending
        self._last_seen = last_seen
        self._health = health
        self._busy: dict[tuple[str, str], int] = {}
        self._told_at = float("-inf")
        self.outcomes = OutcomeLog()
        self.fresh = FreshStart(())
        self._host_faults = HostFaults()

    def begin_anew(self, roots: Iterable[str]) -> None:
        """A start, a reload: everything below these roots is tried now."""
        self.fresh, self._host_faults = FreshStart(roots), HostFaults()

    def is_due(self) -> bool:
        """Whether anything is to be done now."""
        due = self._pending.next_due()
        return due is not None and due <= time.monotonic()

    def found(self, candidate: Candidate) -> None:
        """A scan found it changed, or failing: due when it has rested, or when its back-off is over."""
        now = time.time()
        wait = min(candidate.changed_at, now) + self._committer.config.settle_seconds - now
        failing = self._last_seen.failing.get((candidate.root.key, candidate.name))
        if failing is not None and not self.fresh.is_tried_now(candidate):
            wait = max(wait, min(failing[1] - now, BACKOFF_SECONDS[-1]))
        self._pending.add(candidate, time.monotonic() + max(0.0, wait))

    def commit(self, go_on: Callable[[], bool]) -> bool:
        """Commit what is due, what events told of first; whether the history works again since.

        `go_on` takes the news, and is asked often.
        """
        mended, patience = False, Patience(_JOURNAL_SECONDS)
        for due in (self._told(go_on), self._found_by_looking(go_on)):
            if self.is_due():
                for outcome in self._committer.commit_each(due, patience=patience):
                    mended |= self._take(outcome)
        self.outcomes.turned(time.monotonic())
        return mended

    def _told(self, go_on: Callable[[], bool]) -> Iterator[Candidate]:
        """While there is much of it, what becomes due meanwhile too, for a time that a turn may take."""
        end = time.monotonic() + _TURN_SECONDS
        group = self._pending.take(time.monotonic(), GROUP, told=True)
        if group:
            self._told_at = time.monotonic()
        yield from group
        while len(group) == GROUP and time.monotonic() < end and go_on():
            group = self._pending.take(time.monotonic(), GROUP, told=True)
            yield from group

    def _found_by_looking(self, go_on: Callable[[], bool]) -> Iterator[Candidate]:
        """One by one, until there is news that should not wait for a whole batch."""
        end = time.monotonic() + _TURN_SECONDS
        count = 0
        while found := self._pending.take(time.monotonic(), told=False):
            yield from found
            count += 1
            if count % _NEWS_EVERY == 0 and not go_on():
                return
            now = time.monotonic()
            if now >= end or (count >= _AT_LEAST and self._pending.is_told(now)):
                return
            if count >= _AT_MOST and now - self._told_at < _LATELY_SECONDS:
                return

    def _take(self, outcome: Outcome) -> bool:
        """Take down what became of one; whether the history works again."""
        candidate, now = outcome.candidate, time.monotonic()
        key = candidate.root.key, candidate.name
        if outcome.verdict is Verdict.COMMITTED:
            self._health.committed += 1
            self.outcomes.committed(outcome, now)
        failing = key in self._last_seen.failing
        wall = time.time()
        self._health.counted.outcome(outcome, wall)
        due = self._last_seen.note(outcome, wall)
        self._heed_the_host(outcome, now)
        if outcome.verdict is Verdict.READING:
            self._pending.add(candidate, now + _JOURNAL_SECONDS)
            return False
        if outcome.verdict is Verdict.BUSY:
            self.fresh.took(candidate, "")
            self._wait_for_others(outcome, now)
            return False
        if self._busy.pop(key, 0) >= _BUSY_TRIES_BEFORE_WORD:
            self.outcomes.say(logging.INFO, candidate, "is no longer held", now)
        if outcome.verdict is Verdict.VANISHED:
            self.outcomes.forget(candidate)
        else:
            self.outcomes.warned(outcome, now)
        summed_up = self.fresh.took(candidate, outcome.cause if due is not None else "")
        if due is not None:
            self._put_off(outcome, due - wall, summed_up=summed_up)
        elif failing and outcome.verdict in (Verdict.SKIPPED, Verdict.UNFINISHED):
            self.outcomes.say(logging.INFO, candidate, "fails no longer", now)
        if outcome.verdict in (Verdict.COMMITTED, Verdict.SKIPPED):
            return self._health.history(outcome.history_error)
        return False

    def _heed_the_host(self, outcome: Outcome, now: float) -> None:
        """Who failed by the host's fault need not wait for the end of a back-off once the host is well again."""
        candidate = outcome.candidate
        if outcome.is_fault_of_host:
            self._host_faults.failed(candidate)
        else:
            self._host_faults.ended(candidate)
        if outcome.verdict is Verdict.COMMITTED and not outcome.is_gone:
            for waiting in self._host_faults.called(candidate.root.key, now):
                self._pending.add(waiting, now)
        for scout, due in self._host_faults.scouts(now):
            self._pending.add(scout, due)

    def _put_off(self, outcome: Outcome, wait: float, *, summed_up: bool) -> None:
        """It failed: said the first time, and tried again after a while."""
        candidate, now = outcome.candidate, time.monotonic()
        count = self._last_seen.failing[candidate.root.key, candidate.name][0]
        said_at = 2 if outcome.cause.endswith(_IS_BEING_REMOVED) else 1
        level = logging.WARNING if count == said_at and not summed_up else logging.DEBUG
        self.outcomes.failed(outcome, wait, level, now)
        self._pending.add(candidate, now + wait)

    def _wait_for_others(self, outcome: Outcome, now: float) -> None:
        """Somebody is at work on the workspace: come back, ever more rarely, since an agent could hold it for ever."""
        candidate = outcome.candidate
        key = candidate.root.key, candidate.name
        tries = self._busy[key] = self._busy.get(key, 0) + 1
        wait = min(_BUSY_SECONDS * 2 ** min(tries - 1, 10), _LONGEST_BUSY_SECONDS)
        if tries == _BUSY_TRIES_BEFORE_WORD:
            text = f"{outcome.cause}; tried again until it is free"
            self.outcomes.say(logging.WARNING, candidate, text, now, cause=text)
        self._pending.add(candidate._replace(signature=b""), now + wait)
