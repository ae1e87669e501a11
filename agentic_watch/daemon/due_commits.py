"""Prefetches and commits what is due, and schedules the next attempt by each outcome."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping

from agentic_watch.commit.committer import NOT_KEPT, Committer
from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.config import Config
from agentic_watch.daemon.daemon_state import MOST_OF_ONE
from agentic_watch.daemon.health import Health
from agentic_watch.daemon.outcome_log import OutcomeLog
from agentic_watch.daemon.pending import Lane, Pending, TimeShares
from agentic_watch.daemon.signals import Signals
from agentic_watch.history import HistoryError, commit_lookup
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.inventory.next_attempts import BACKOFF_SECONDS, FreshStart, HostFaults
from agentic_watch.watch.change_queues import Hint, HintQueue
from agentic_watch.watch.root_thread import RootThread
from agentic_watch.workspace.candidate import Candidate, Key
from agentic_watch.workspace.workspace_errors import ErrorKind

log = logging.getLogger("agentic_watch.daemon")

_JOURNAL_SECONDS = 0.1
"""Time per turn for long journals; everything else then gets as much before they continue."""
_AT_LEAST = 8
_AT_MOST = 16
_LATELY_SECONDS = 1.0
"""So long after an event, workspaces found by scanning are committed in small groups (_AT_MOST)."""
_TURN_SECONDS = 1.0
_BUSY_LANE_SECONDS = 0.005
"""Time per turn for workspaces that used much time recently; at least one is handled."""
_CHARGED_AT_MOST_SECONDS = 0.05
"""Maximum processor time charged to one workspace of a group: the time may include writes of others."""
_PREFETCH_SECONDS = 0.1
"""Time per turn for prefetching statuses."""
AGAIN_SECONDS = 0.05
"""Pause before workspaces on a mount that did not answer are checked again; the mount's thread probes it four times a
second."""
_PUT_BY_PER_SECOND = 1_000
_BUSY_SECONDS = 0.5
_LONGEST_BUSY_SECONDS = 15.0
_BUSY_TRIES_BEFORE_WORD = 6


class DueCommits:
    """Used from the loop's thread. `pending` are the workspaces to commit; `fresh` says which failing ones are retried
    regardless of their back-off."""

    def __init__(self, committer: Committer, last_seen: LastSeen, health: Health, signals: Signals) -> None:
        self._committer = committer
        self._last_seen = last_seen
        self._health = health
        self._signals = signals
        self.pending = Pending(committer.config.settle_seconds)
        self._prefetches = Pending(0.0)
        self._shares = TimeShares()
        self._busy: dict[Key, int] = {}
        self.reading: dict[Key, float] = {}
        """When the reading of each long journal started, by workspace."""
        self._event_at = float("-inf")
        self._put_by: list[Candidate] = []
        self._next_put_by = 0.0
        self.outcomes = OutcomeLog()

    def begin_anew(self, config: Config, watched: Mapping[str, RootThread], hints: HintQueue) -> None:
        """After a start or a reload: everything below the roots is tried now, with a new watcher and a new hint
        queue."""
        self.fresh, self._host_faults = FreshStart(root.key for root in config.roots), HostFaults()
        self._watched, self._hints = watched, hints
        self._put_by.clear()
        self.reading.clear()
        self.pending.settle_seconds = config.settle_seconds
        for queue in (self.pending, self._prefetches):
            queue.keep_roots(config.roots)
        self.outcomes.many_roots = len(config.roots) > 1

    def next_due(self) -> float:
        """When the next work is due without a hint, including another check of mounts that do not answer."""
        soonest = self._next_put_by if self._put_by else float("inf")
        for queue in (self.pending, self._prefetches):
            if (due := queue.next_due(self._shares.busy_from)) is not None:
                soonest = min(soonest, due)
        return soonest

    def handle(self, candidate: Candidate, hint: Hint, now: float) -> None:
        """A workspace changed: prefetch its status, which may be replaced or removed, and commit it when it has
        settled."""
        key = candidate.key
        if hint.throttled:
            self._shares.use_up(key, now)
            if not hint.from_event:
                return
        wait, is_modest = self._shares.of(key, now)
        lane = (Lane.EVENT if hint.from_event else Lane.FOUND) if is_modest else Lane.BUSY
        self.pending.touch(candidate, now, lane=lane, wait=wait)
        if self.pending.settle_seconds:
            self._prefetches.add(candidate, now + wait, lane=lane)

    def prefetch(self) -> None:
        """Read statuses that will be committed later, within the time of a turn; the rest follow in the next turn."""
        for lane in self._prefetches.due_lanes(time.monotonic(), self._shares.busy_from):
            self._prefetch_lane(lane)

    def _prefetch_lane(self, lane: Lane) -> None:
        seconds = _BUSY_LANE_SECONDS if lane is Lane.BUSY else _PREFETCH_SECONDS
        began = now = time.monotonic()
        while now - began < seconds and not self._signals.stopping:
            if (candidate := self._prefetches.take(began, lane)) is None:
                break
            if self._watched[candidate.root.key].mounts.is_left_alone(candidate.name):
                self._prefetches.add(candidate, now + AGAIN_SECONDS, lane=lane)
                continue
            before = time.thread_time()
            for lost in self._committer.look_ahead(candidate):
                self.outcomes.say(logging.WARNING, lost, NOT_KEPT, now, error=NOT_KEPT)
            spent, now = time.thread_time() - before, time.monotonic()
            self._shares.charge(candidate.key, spent, now)
        if lane is Lane.BUSY:
            self._shares.busy_had(now - began, now)

    def found(self, candidate: Candidate) -> None:
        """A scan found a changed or failing workspace: due when it has settled, or when its back-off ends."""
        now = time.time()
        wait = min(candidate.changed_at, now) + self._committer.config.settle_seconds - now
        failing = self._last_seen.failing.get(candidate.key)
        if failing is not None and not self.fresh.is_tried_now(candidate):
            wait = max(wait, min(failing[1] - now, BACKOFF_SECONDS[-1]))
        self.pending.add(candidate, time.monotonic() + max(0.0, wait))

    def is_news(self) -> bool:
        """Whether there is work that a scan of a whole root must not delay."""
        return not self._hints.is_empty or self.pending.is_due(time.monotonic(), Lane.EVENT)

    def commit(self) -> bool:
        """Commit what is due now, workspaces with events first; returns whether the history became available again.

        When events arrive, workspaces found by scanning wait for the next turn.
        """
        now, mended = time.monotonic(), False
        if self._put_by:
            self._take_up_again(now)
        for lane in self.pending.due_lanes(now, self._shares.busy_from):
            if lane is Lane.EVENT:
                self._hints.is_idle.clear()
                mended |= self._commit(self._from_events(now))
            elif lane is Lane.FOUND:
                mended |= self._commit(self._found_by_looking(now))
            else:
                mended |= self._commit_busy(now)
        return mended

    def _commit(self, due: Iterable[Candidate]) -> bool:
        mended = False
        for outcome in self._committer.commit_each(due, journal_seconds=_JOURNAL_SECONDS):
            mended |= self._on_outcome(outcome)
        return mended

    def _from_events(self, now: float) -> Iterator[Candidate]:
        """Workspaces due at the begin of the turn, within its time."""
        end = now + _TURN_SECONDS
        while time.monotonic() < end and (found := self._take_due(now, Lane.EVENT)):
            self._event_at = now
            began = time.thread_time()
            yield found
            spent = time.thread_time() - began
            self._shares.charge(found.key, min(spent, _CHARGED_AT_MOST_SECONDS), time.monotonic())

    def _commit_busy(self, now: float) -> bool:
        """Commit workspaces that used much time recently, singly, so that each is charged its own time."""
        start, mended = time.monotonic(), False
        ended = start
        while ended - start < _BUSY_LANE_SECONDS and (found := self._take_due(now, Lane.BUSY)):
            began = time.thread_time()
            mended |= self._commit([found])
            ended = time.monotonic()
            self._shares.charge(found.key, time.thread_time() - began, ended)
        self._shares.busy_had(ended - start, ended)
        return mended

    def _found_by_looking(self, now: float) -> Iterator[Candidate]:
        """Due workspaces, until an event arrives that should not wait for a whole batch."""
        count = 0
        while found := self._take_due(now, Lane.FOUND):
            yield found
            count += 1
            spent = time.monotonic() - now
            if spent >= _TURN_SECONDS or (count >= _AT_LEAST and self.is_news()):
                return
            if count >= _AT_MOST and now + spent - self._event_at < _LATELY_SECONDS:
                return

    def _take_due(self, now: float, lane: Lane) -> Candidate | None:
        """A due workspace; None when there is none or the daemon stops. Those on a mount that does not answer are set
        aside."""
        while not self._signals.stopping and (taken := self.pending.take(now, lane)) is not None:
            if not self._watched[taken.root.key].mounts.is_left_alone(taken.name):
                return taken
            self._put_by.append(taken)
            self.reading.pop(taken.key, None)
        return None

    def _take_up_again(self, now: float) -> None:
        """Queue the workspaces that were set aside and whose mount answers again."""
        if now < self._next_put_by:
            return
        self._next_put_by = now + max(AGAIN_SECONDS, len(self._put_by) / _PUT_BY_PER_SECOND)
        put_by, self._put_by = self._put_by, []
        for candidate in put_by:
            if self._watched[candidate.root.key].mounts.is_left_alone(candidate.name):
                self._put_by.append(candidate)
            else:
                self.pending.add(candidate, now)

    def _on_outcome(self, outcome: Outcome) -> bool:
        """Handle the outcome of one commit; returns whether the history became available again."""
        candidate, now = outcome.candidate, time.monotonic()
        key = candidate.key
        if outcome.verdict is Verdict.COMMITTED:
            self._health.state.committed += 1
            self.outcomes.committed(outcome, now)
            self._count_used(outcome)
        failing = key in self._last_seen.failing
        wall = time.time()
        self._health.state.counted.outcome(outcome, wall)
        due = self._last_seen.note(outcome, wall)
        for waiting, at in self._host_faults.on_outcome(outcome, now):
            self.pending.add(waiting, at)
        if outcome.verdict is Verdict.READING:
            self.reading.setdefault(key, now)
            self.pending.add(candidate, now + _JOURNAL_SECONDS, lane=Lane.BUSY)
            return False
        self.reading.pop(key, None)
        if outcome.verdict is Verdict.BUSY:
            self.fresh.tried(candidate, "")
            self._wait_for_others(outcome, now)
            return False
        if self._busy.pop(key, 0) >= _BUSY_TRIES_BEFORE_WORD:
            self.outcomes.say(logging.INFO, candidate, "no longer held", now)
        if outcome.verdict is Verdict.VANISHED:
            self.outcomes.forget(candidate)
        else:
            self.outcomes.warned(outcome, now)
        summed_up = self.fresh.tried(candidate, outcome.cause if due is not None else "")
        if due is not None:
            self._put_off(outcome, due - wall, summed_up=summed_up)
        elif failing and outcome.verdict in (Verdict.SKIPPED, Verdict.UNFINISHED):
            self.outcomes.say(logging.INFO, candidate, "no longer failing", now)
        if outcome.verdict in (Verdict.COMMITTED, Verdict.SKIPPED):
            return self._health.history(outcome.history_error)
        return False

    def _count_used(self, outcome: Outcome) -> None:
        """Add the tokens and cost in its row to the counters; skipped when its row could not be inserted."""
        status, candidate = outcome.status, outcome.candidate
        if status is None or outcome.history_error or not outcome.tells_usage:
            return
        run = status.runs, status.started_at.utc_if_set()
        with contextlib.suppress(HistoryError), self._committer.history.reading() as connection:
            place, updated = candidate.key, status.updated_at.utc()
            self._health.state.counted.add_used(commit_lookup.added_usage(connection, place, run, updated, MOST_OF_ONE))

    def _put_off(self, outcome: Outcome, wait: float, *, summed_up: bool) -> None:
        """A commit failed: log the first failure, and schedule the next attempt."""
        candidate, now = outcome.candidate, time.monotonic()
        count = self._last_seen.failing[candidate.key][0]
        # A workspace that is being removed is logged at the second failure only: by then it is usually gone.
        said_at = 2 if outcome.kind is ErrorKind.GONE else 1
        level = logging.WARNING if count == said_at and not summed_up else logging.DEBUG
        self.outcomes.failed(outcome, wait, level, now)
        self.pending.add(candidate, now + wait)

    def _wait_for_others(self, outcome: Outcome, now: float) -> None:
        """Another process holds the workspace: retry with growing pauses, since an agent could hold it for ever."""
        candidate = outcome.candidate
        key = candidate.key
        tries = self._busy[key] = self._busy.get(key, 0) + 1
        wait = min(_BUSY_SECONDS * 2 ** min(tries - 1, 10), _LONGEST_BUSY_SECONDS)
        if tries == _BUSY_TRIES_BEFORE_WORD:
            text = f"{outcome.cause}; retrying until it is released"
            self.outcomes.say(logging.WARNING, candidate, text, now, cause=text)
        self.pending.add(candidate._replace(signature=b""), now + wait)
