"""Waits until the newest run of each given workspace is finished and recorded by any process."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from agentic_watch.answers.past.outcomes import from_config
from agentic_watch.config import KNOWN_STATUSES, Config
from agentic_watch.history import HistoryError
from agentic_watch.history.commit_lookup import NamedRow
from agentic_watch.waiting.awaited_workspace import AwaitedWorkspace, follow_moved, rows_of
from agentic_watch.waiting.commits_without_daemon import OwnCommits
from agentic_watch.waiting.followed_rows import KEY, HistoryChanges
from agentic_watch.waiting.wait_result import Awaited, Wanted, from_row, from_status
from agentic_watch.watch.directory_watch import DirectoryWatch, directory_watch

log = logging.getLogger("agentic_watch.wait")

_REST_SECONDS = 0.01
_REST_FACTOR = 4.0
"""The pause between two turns is _REST_SECONDS plus this multiple of the last turn; events meanwhile are merged."""
_POLL_SECONDS = 1.0
_LOOK_SECONDS = 30.0
"""Interval at which all workspaces are examined even without events."""
_CANCEL_SECONDS = 0.2
_AGAIN_SECONDS = 0.5
_LOST_SECONDS = 2.0
_HELD_SECONDS = 0.05
_GRACE_SETTLES = 5
_GRACE_SECONDS = 2.0
"""A removed workspace or its row may appear within the daemon's settle time plus this."""


@dataclass(frozen=True, slots=True)
class Until:
    """When to stop waiting: after `timeout` seconds (None: never, 0: look once), with the first of all (`any_one`), or
    when the event `cancelled` is set by another thread."""

    timeout: float | None = None
    any_one: bool = False
    cancelled: threading.Event | None = None


@dataclass(frozen=True, slots=True)
class WaitEnd:
    """The end of a wait: the result of each workspace in the given order, and whether it ended by time-out or
    cancellation."""

    workspaces: tuple[Awaited, ...]
    timed_out: bool = False
    cancelled: bool = False


def wait_for_recorded(
    config: Config, wanted: Sequence[Wanted], until: Until, hear: Callable[[Awaited], None] = lambda _: None
) -> WaitEnd:
    """Wait until the newest run of each workspace is finished and in the history; `hear` is called for each one.

    Without a daemon, finished runs are committed here. A removed workspace ends with its recorded run. Blocks the
    calling thread, which Ctrl-C interrupts. Raises HistoryRefused.
    """
    with contextlib.ExitStack() as closing:
        watches = directory_watch()
        if watches is not None:
            closing.callback(watches.close)
        wait = _Wait(config, wanted, hear, watches)
        closing.callback(wait.close)
        return wait.run(until)


class _Wait:
    """The state of one wait."""

    def __init__(
        self, config: Config, wanted: Sequence[Wanted], hear: Callable[[Awaited], None], watches: DirectoryWatch | None
    ) -> None:
        self._config = config
        self._hear = hear
        self._watches = watches
        self._all = [AwaitedWorkspace(one) for one in wanted]
        self._left = dict.fromkeys(self._all)
        self._ended: dict[AwaitedWorkspace, Awaited] = {}
        self._changes = HistoryChanges(config.history, watches)
        self._own = OwnCommits(config)
        self._outcomes = from_config(config.answers)
        self._history_error = ""
        self._history_lost_at = 0.0
        self._said: set[str] = set()
        self._searched: set[AwaitedWorkspace] = set()

    def close(self) -> None:
        """Close all that is open."""
        self._own.close()
        self._changes.close()

    def run(self, until: Until) -> WaitEnd:
        """Wait."""
        end = None if until.timeout is None else time.monotonic() + until.timeout
        due: Iterable[AwaitedWorkspace] = self._all
        looked_at = polled_at = time.monotonic()
        while True:
            began = time.monotonic()
            self._turn(due)
            if not self._left or (until.any_one and self._ended):
                return self._end()
            cancelled = until.cancelled is not None and until.cancelled.is_set()
            now = time.monotonic()
            if cancelled or (end is not None and now >= end):
                return self._end(timed_out=not cancelled, cancelled=cancelled)
            pause = min(_REST_SECONDS + _REST_FACTOR * (now - began), 1.0)
            news = self._wait(pause, self._longest(until, end))
            now = time.monotonic()
            due = [one for one in self._left if one in news or one.held_since is not None]
            if now - looked_at >= _LOOK_SECONDS:
                due, looked_at = list(self._left), now
            elif now - polled_at >= _POLL_SECONDS:
                polled_at = now
                due += [one for one in self._left if one.is_polled and one not in due]

    def _end(self, *, timed_out: bool = False, cancelled: bool = False) -> WaitEnd:
        ends = tuple(self._ended.get(one) or self._missing(one) for one in self._all)
        return WaitEnd(ends, timed_out, cancelled)

    # --- waiting

    def _longest(self, until: Until, end: float | None) -> float:
        """Seconds until the next work without an event."""
        now = time.monotonic()
        due = [_LOOK_SECONDS, self._changes.until_next()]
        if end is not None:
            due.append(end - now)
        if until.cancelled is not None:
            due.append(_CANCEL_SECONDS)
        if self._history_error:
            due.append(_AGAIN_SECONDS)
        ours = self._own.are_ours()
        for one in self._left:
            if one.is_polled:
                due.append(_POLL_SECONDS)
            if one.held_since is not None:
                due.append(_HELD_SECONDS)
            if one.gone_at is not None:
                due.append(one.gone_at + self._grace() - now)
            if one.finished_at is not None or one.gone_at is not None:
                own = self._own.until_due(one) if ours else 1.0  # the daemon may end meanwhile
                due.append(1.0 if own is None else own)
        return max(0.0, min(due))

    def _wait(self, pause: float, longest: float) -> set[object]:
        """Pause, then wait for events at most `longest` seconds; returns the changed keys."""
        if self._watches is None:
            time.sleep(max(pause, min(longest, _POLL_SECONDS)))
            return set(self._left)
        time.sleep(min(pause, max(longest, _REST_SECONDS)))
        news: set[object] = set(self._watches.take(max(0.0, longest - pause)))
        if KEY in news:
            self._changes.written()
        return news

    def _grace(self) -> float:
        return _GRACE_SETTLES * self._config.settle_seconds + _GRACE_SECONDS

    # --- one turn

    def _turn(self, due: Iterable[AwaitedWorkspace]) -> None:
        due = list(due)
        for one in due:
            self._look(one)
        self._follow_moved()
        asked = list(self._left) if self._changes.happened() or self._history_error else due
        self._judge(asked)
        if self._own.are_ours():
            self._commit()
        self._give_up()

    def _look(self, one: AwaitedWorkspace) -> None:
        before = one.said
        if self._watches is None:
            one.look(self._config, _no_watch)
        else:
            with self._watches.renewing(one) as add:
                one.look(self._config, add)
        if one.said is not None and one.said.status not in KNOWN_STATUSES | self._config.finished:
            self._say(
                f"{one.name}: its status {one.said.status[:60]!a} is neither finished nor known, so the wait goes on"
            )
        if one.finished_at is not None and one.said != before and self._own.are_ours():
            self._own.look_ahead(one)

    def _follow_moved(self) -> None:
        """Scan all roots, once for each workspace that disappeared recently, since it may have been renamed."""
        gone = [one for one in self._left if one.gone_at is not None and one not in self._searched]
        if not gone:
            return
        self._searched.update(gone)
        for one in follow_moved(gone, self._config):
            self._searched.discard(one)
            self._look(one)

    def _judge(self, asked: Collection[AwaitedWorkspace]) -> None:
        """Finish the workspaces whose row exists."""
        if not asked:
            return
        try:
            rows, pruned_before = rows_of(self._config, asked)
        except HistoryError as error:
            self._lose_history(str(error))
            return
        self._history_error = ""
        for one in asked:
            if (row := one.row(rows, self._config.finished)) is not None:
                if not one.is_being_committed():
                    self._record(one, row)
            elif one.finished_at is not None and pruned_before and one.is_pruned(pruned_before):
                self._record(one, None)

    def _lose_history(self, cause: str) -> None:
        """The history is not available: wait for a missing one, else print the cause after a moment."""
        now = time.monotonic()
        if not self._history_error:
            self._history_lost_at = now
        self._history_error = cause
        if now - self._history_lost_at >= _LOST_SECONDS and os.path.lexists(self._config.history):
            self._say(f"{cause}; what is recorded is unknown until it can be read")

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            log.warning("%s", text)

    def _commit(self) -> None:
        due = [one for one in self._left if self._own.until_due(one) == 0.0]
        if not due:
            return
        self._own.commit(due)
        for one in due:
            self._look(one)
        self._judge(due)
        for one in due:
            attempt = self._own.attempts.get(one)
            if one not in self._left or attempt is None:
                continue
            if attempt.is_final:
                lost = replace(self._as_said(one), is_lost=True, is_fault_of_host=attempt.is_fault_of_host)
                self._finish(one, replace(lost, error=f"cannot be committed: {attempt.cause}"))
            elif attempt.said is not None and attempt.said == one.said:  # it is recorded under a name from elsewhere
                self._record(one, None)

    def _give_up(self) -> None:
        for one in [one for one in self._left if one.gone_at is not None]:
            assert one.gone_at is not None
            if time.monotonic() >= one.gone_at + self._grace():
                error = "was removed before it was recorded"
                self._finish(one, replace(self._as_said(one), error=error, is_lost=True))

    # --- ends

    def _record(self, one: AwaitedWorkspace, row: NamedRow | None) -> None:
        """Finish a workspace with its row, or with its status if no row can be read."""
        if row is not None:
            place = one.at.name if one.at is not None and one.is_moved else None
            self._finish(one, from_row(one.name, row, self._outcomes.of(row.status), place))
            return
        attempt = self._own.attempts.get(one)
        said = self._as_said(one)
        at = attempt.committed_at if attempt is not None else None
        outcome = self._outcomes.of(said.status or "")
        self._finish(one, replace(said, recorded=True, outcome=outcome, committed_at=at or None))

    def _finish(self, one: AwaitedWorkspace, end: Awaited) -> None:
        del self._left[one]
        self._ended[one] = end
        if self._watches is not None:
            self._watches.discard(one)
        self._hear(end)

    def _missing(self, one: AwaitedWorkspace) -> Awaited:
        """The result of a workspace that is not finished when the wait ends."""
        said, attempt = one.said, self._own.attempts.get(one)
        if one.gone_at is not None:
            error = "was removed, and is not recorded yet"
        elif one.cause or said is None:
            error = one.cause
        elif one.finished_at is None:
            error = f"is {said.status}"
        else:
            why = (attempt and attempt.cause) or self._history_error
            error = f"is {said.status}, and not recorded yet" + (f": {why}" if why else "")
        return replace(self._as_said(one), error=error)

    def _as_said(self, one: AwaitedWorkspace) -> Awaited:
        return from_status(one.name, one.at, one.said)


def _no_watch(_directory: int, _names: Iterable[str]) -> bool:
    return False
