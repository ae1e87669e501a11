"""The loop: take hints, scan in slices, commit what is due, tell how it goes.

Everything is done by one thread, so nothing here needs a lock; watchers only queue hints and signal
handlers only set a flag.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue

from agentic_watch.commit import Committer, Outcome, Verdict
from agentic_watch.config import Config, ConfigError, NoRootsError, Root
from agentic_watch.daemon.health import Health
from agentic_watch.daemon.pending import Pending
from agentic_watch.daemon.signals import Signals
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History
from agentic_watch.host.threads import left_to_main_thread
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.inventory.rescan import Counts, rescan
from agentic_watch.inventory.retries import BACKOFF_SECONDS
from agentic_watch.scan import RootUnavailable, Trouble
from agentic_watch.watch.emitter import Hint, Hints
from agentic_watch.watch.watcher import Watcher
from agentic_watch.workspace.layout import Candidate

log = logging.getLogger("agentic_watch.daemon")

GROUP = 64
_COMMIT_SECONDS = 1.0
_SLICE_SECONDS = 0.05
_BUSY_SECONDS = 0.5
_LONGEST_BUSY_SECONDS = 15.0
_BUSY_TRIES_BEFORE_WORD = 6
_FLUSH_SECONDS = 2.0
_IDLE_SECONDS = 1.0
"""The kernel may hand a signal to another thread while the main one has one to handle; then nothing ends our wait, and
Python handles the signal only when the wait is over."""
_TROUBLES_AT_MOST = 1000


class ThreadDied(Exception):
    """A thread of the watcher ended by itself: the process must end, so that systemd starts it anew."""


class Daemon:
    """One run of the daemon over one history. `load` reads the configuration anew for a reload.

    What waits is timed by the monotonic clock, so that a step of the host's clock neither delays nor repeats it.
    """

    def __init__(self, config: Config, load: Callable[[], Config], health: Health) -> None:
        self._config = config
        self._load = load
        self._health = health
        self._hints: Hints = SimpleQueue()
        self._history = History(config.history)
        self._last_seen = LastSeen(self._history)
        self._committer = Committer(config, self._history)
        self._pending = Pending(config.settle_seconds)
        self._watcher = self._new_watcher()
        self._signals = Signals(lambda: self._hints.put(None))
        self._sweeps: dict[str, Iterator[Candidate | Trouble | None]] = {}
        self._awaited = {root.key for root in config.roots}
        self._troubled: set[tuple[str, str]] = set()
        self._busy: dict[tuple[str, str], int] = {}
        self._next_reconcile = time.monotonic() + config.reconcile_seconds
        self._next_flush = 0.0

    def _new_watcher(self) -> Watcher:
        return Watcher(self._config.roots, self._hints, f"{self._config.history}.cookie")

    def run(self) -> None:
        """Work until SIGTERM or SIGINT. Raises HistoryTooNew, ThreadDied."""
        self._signals.take()
        try:
            self._open_history()
            with left_to_main_thread():
                self._watcher.start()
            self._health.started(self._watcher.states())
            while not self._signals.stopping:
                self._turn()
        finally:
            self._health.stopping()
            self._watcher.stop()
            self._sweeps.clear()
            self._last_seen.flush()
            self._committer.close()
            self._history.close()
            self._signals.give_back()

    def _open_history(self) -> None:
        try:
            self._history.open()
        except HistoryError as error:
            self._health.history(str(error))

    def _turn(self) -> None:
        """One full turn of the loop."""
        self._take_hints()
        self._check_threads()
        if self._signals.reloading:
            self._reload()
        now = time.monotonic()
        if now >= self._next_reconcile:
            self._reconcile()
        self._advance_sweeps()
        self._commit_due()
        if now >= self._next_flush:
            self._last_seen.flush()
            self._next_flush = now + _FLUSH_SECONDS
        self._tell_notices()
        self._health.pending, self._health.failing = len(self._pending), len(self._last_seen.failing)
        settled = not self._awaited and not self._sweeps and not self._is_due()
        states, overflows = self._watcher.states(), self._watcher.overflows()
        self._health.turned(states, overflows, settled=settled, answers=self._watcher.answers)

    # --- what is to be done

    def _take_hints(self) -> None:
        """Wait for the next hint, until something is due; then take all that came."""
        if patience := self._patience():
            self._watcher.read_on()
        with suppress(Empty):
            self._heed(self._hints.get(timeout=patience))
        self._heed_waiting()

    def _heed_waiting(self) -> None:
        """Take all hints that have come."""
        with suppress(Empty):
            while True:
                self._heed(self._hints.get_nowait())

    def _patience(self) -> float:
        """Seconds until something is to be done without a hint."""
        if self._sweeps or self._signals.stopping or self._signals.reloading:
            return 0.0
        now = time.monotonic()
        wakes = [self._next_reconcile, now + min(_IDLE_SECONDS, self._health.interval)]
        if self._last_seen.dirty:
            wakes.append(self._next_flush)
        if (due := self._pending.next_due()) is not None:
            wakes.append(due)
        return max(0.0, min(wakes) - now)

    def _heed(self, hint: Hint | None) -> None:
        if hint is None:
            return  # only to wake us
        key = hint.root.key
        if hint.root not in self._config.roots:
            return  # said before a reload
        if hint.candidate is not None:
            self._pending.touch(hint.candidate, time.monotonic())
        elif hint.reason in ("waiting", "lost"):
            self._awaited.discard(key)
            self._sweeps.pop(key, None)
        elif hint.reason != "poll" or key not in self._sweeps:
            self._awaited.discard(key)
            self._sweep(hint.root)

    def _reconcile(self) -> None:
        """Look at everything again: no event is trusted to have come."""
        self._next_reconcile = time.monotonic() + self._config.reconcile_seconds
        self._last_seen.flush()
        self._history.close()  # a file that was spoiled under an open connection shows when it is opened anew
        there = {state.root for state in self._watcher.states() if state.watching != "waiting"}
        for root in self._config.roots:
            if root.key in there and root.key not in self._sweeps:
                self._sweep(root)

    def _look_at_all_anew(self) -> None:
        """The history is back, or another: have it take in what the journals hold."""
        self._sweeps.clear()
        self._reconcile()

    def _sweep(self, root: Root) -> None:
        self._sweeps[root.key] = rescan(root, self._last_seen, self._config.finished, Counts())

    def _advance_sweeps(self) -> None:
        """Scan on for a slice of time, so that what finishes meanwhile need not wait for the end of a scan."""
        end = time.monotonic() + _SLICE_SECONDS
        for key, found in list(self._sweeps.items()):
            try:
                for one in found:
                    if one is not None:
                        self._found(one)
                    if time.monotonic() >= end:
                        return
            except RootUnavailable as error:
                log.debug("%s", error)
            del self._sweeps[key]
            self._health.scanned()

    def _found(self, found: Candidate | Trouble) -> None:
        key = found.root.key, found.name
        if isinstance(found, Trouble):
            if key not in self._troubled and len(self._troubled) < _TROUBLES_AT_MOST:
                log.warning("%s: %s; what is below it is not seen", found.name or found.root.path, found.cause)
                self._troubled.add(key)
            return
        self._watcher.missed(found)
        now = time.time()
        wait = min(found.changed_at, now) + self._config.settle_seconds - now
        if key in self._last_seen.failing:
            wait = max(wait, min(self._last_seen.failing[key][1] - now, BACKOFF_SECONDS[-1]))
        self._pending.add(found, time.monotonic() + max(0.0, wait))

    # --- doing it

    def _is_due(self) -> bool:
        due = self._pending.next_due()
        return due is not None and due <= time.monotonic()

    def _commit_due(self) -> None:
        if self._is_due():
            for outcome in self._committer.commit_each(self._due()):
                self._take(outcome)

    def _due(self) -> Iterator[Candidate]:
        """What is due. While there is much of it, what becomes due meanwhile too, for a time that a turn may take."""
        end = time.monotonic() + _COMMIT_SECONDS
        group = self._pending.take(time.monotonic(), GROUP)
        yield from group
        while len(group) == GROUP and time.monotonic() < end and not self._signals.stopping:
            self._heed_waiting()
            group = self._pending.take(time.monotonic(), GROUP)
            yield from group

    def _tell_notices(self) -> None:
        for notice in self._history.notices:
            log.error("%s", notice)
        if self._history.notices:
            self._history.notices.clear()
            self._last_seen.distrust()
            self._look_at_all_anew()

    def _take(self, outcome: Outcome) -> None:
        candidate, now = outcome.candidate, time.time()
        key = candidate.root.key, candidate.name
        where = {"root": candidate.root.key, "workspace": candidate.name}
        if outcome.verdict is Verdict.COMMITTED:
            self._health.committed += 1
            assert outcome.status is not None
            log.info(
                "%s: committed (%s, run %d)", candidate.name, outcome.status.status, outcome.status.runs, extra=where
            )
        due = self._last_seen.note(outcome, now)
        if outcome.verdict is Verdict.BUSY:
            self._wait_for_lock(candidate)
            return
        self._busy.pop(key, None)
        if outcome.verdict in (Verdict.COMMITTED, Verdict.SKIPPED) and self._health.history(outcome.history_error):
            self._look_at_all_anew()
        for warning in outcome.warnings:
            log.warning("%s: %s", candidate.name, warning, extra=where)
        if due is not None:
            count = self._last_seen.failing[key][0]
            level = logging.WARNING if count == 1 else logging.DEBUG
            log.log(level, "%s: %s; next attempt in %.0f s", candidate.name, outcome.cause, due - now, extra=where)
            self._pending.add(candidate, time.monotonic() + due - now)

    def _wait_for_lock(self, candidate: Candidate) -> None:
        """Somebody holds the workspace: come back, ever more rarely, since an agent could hold it for ever."""
        key = candidate.root.key, candidate.name
        tries = self._busy[key] = self._busy.get(key, 0) + 1
        wait = min(_BUSY_SECONDS * 2 ** min(tries - 1, 10), _LONGEST_BUSY_SECONDS)
        if tries == _BUSY_TRIES_BEFORE_WORD:
            log.warning("%s: is held (flock on .meta) by another process; tried again until it is free", candidate.name)
        self._pending.add(replace(candidate, signature=b""), time.monotonic() + wait)

    # --- signals, threads, reload

    def _check_threads(self) -> None:
        if (crash := self._signals.crash) is not None:
            raise ThreadDied(f"a watcher thread failed: {crash!r}") from crash
        if not self._signals.stopping and (name := self._watcher.dead()) is not None:
            raise ThreadDied(f"the thread {name!r} has ended")

    def _reload(self) -> None:
        """SIGHUP: read the configuration anew; a bad one leaves the old one in force."""
        self._signals.reloading = False
        self._health.reloading()
        try:
            config = self._load()
        except (ConfigError, NoRootsError) as error:
            log.error("the configuration was not reloaded, the old one stays in force: %s", error)
            return
        if config.history != self._config.history:
            log.warning("%s: another history takes effect at the next start", config.history)
        self._config = replace(config, history=self._config.history)
        self._committer.config = self._config
        self._pending.settle_seconds = config.settle_seconds
        self._next_reconcile = time.monotonic() + config.reconcile_seconds
        self._watcher.stop()
        self._sweeps.clear()
        self._pending.keep_roots(config.roots)
        self._awaited = {root.key for root in config.roots}
        self._last_seen.keep_roots(self._awaited)
        self._watcher = self._new_watcher()
        with left_to_main_thread():
            self._watcher.start()
        log.info("the configuration was reloaded: %d roots", len(config.roots))
