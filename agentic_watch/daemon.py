"""The loop: take hints, scan in slices, commit what is due, tell how it goes.

Everything is done by one thread, so nothing here needs a lock; watchers only queue hints and signal
handlers only set a flag.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from agentic_watch.commit import Committer, Outcome, Verdict
from agentic_watch.config import Config, ConfigError, NoRootsError, Root
from agentic_watch.health import Health
from agentic_watch.history.errors import HistoryError
from agentic_watch.history.store import History
from agentic_watch.ledger import Ledger
from agentic_watch.pending import Pending
from agentic_watch.scan import RootUnavailable, Trouble
from agentic_watch.sweep import Counts, sweep
from agentic_watch.watch import Hint, Hints, Watcher

log = logging.getLogger("agentic_watch.daemon")

GROUP = 256
_SLICE_SECONDS = 0.05
_BUSY_SECONDS = 0.5
_FLUSH_SECONDS = 2.0
_IDLE_SECONDS = 10.0


class ThreadDied(Exception):
    """A thread of the watcher ended by itself: the process must end, so that systemd starts it anew."""


class Daemon:
    """One run of the daemon over one history. `load` reads the configuration anew for a reload."""

    def __init__(self, config: Config, load: Callable[[], Config], health: Health) -> None:
        self._config = config
        self._load = load
        self._health = health
        self._hints: Hints = SimpleQueue()
        self._history = History(config.history)
        self._ledger = Ledger(self._history)
        self._committer = Committer(config, self._history)
        self._pending = Pending(config.settle_seconds)
        self._watcher = Watcher(config.roots, self._hints)
        self._sweeps: dict[str, Iterator[object]] = {}
        self._awaited = {root.key for root in config.roots}
        self._troubled: set[tuple[str, str]] = set()
        self._next_reconcile = time.time() + config.reconcile_seconds
        self._next_flush = 0.0
        self._stopping = False
        self._reloading = False
        self._crash: BaseException | None = None

    def run(self) -> None:
        """Work until SIGTERM or SIGINT. Raises HistoryTooNew, ThreadDied."""
        previous = self._take_signals()
        try:
            with suppress(HistoryError):  # said and counted by the first commit that meets it
                self._history.open()
            self._watcher.start()
            while not self._stopping:
                self._turn()
        finally:
            self._health.stopping()
            self._watcher.stop()
            self._ledger.flush()
            self._committer.close()
            self._history.close()
            self._give_back_signals(previous)

    def _turn(self) -> None:
        """One full turn of the loop."""
        self._take_hints()
        self._check_threads()
        if self._reloading:
            self._reload()
        now = time.time()
        if now >= self._next_reconcile:
            self._reconcile()
        self._advance_sweeps()
        self._commit_due()
        if now >= self._next_flush:
            self._ledger.flush()
            self._next_flush = now + _FLUSH_SECONDS
        self._health.pending, self._health.failing = len(self._pending), len(self._ledger.failing)
        settled = not self._awaited and not self._sweeps and not self._is_due()
        self._health.turned(self._watcher.states(), self._watcher.overflows(), settled=settled)

    # --- what is to be done

    def _take_hints(self) -> None:
        """Wait for the next hint, until something is due; then take all that came."""
        try:
            hint = self._hints.get(timeout=self._patience())
            while True:
                if hint is not None:
                    self._heed(hint)
                hint = self._hints.get_nowait()
        except Empty:
            pass

    def _patience(self) -> float:
        """Seconds until something is to be done without a hint."""
        if self._sweeps or self._stopping or self._reloading:
            return 0.0
        wake = min(self._next_reconcile, time.time() + min(_IDLE_SECONDS, self._health.interval))
        due = self._pending.next_due()
        if due is not None:
            wake = min(wake, due)
        return max(0.0, wake - time.time())

    def _heed(self, hint: Hint) -> None:
        key = hint.root.key
        if all(root.key != key for root in self._config.roots):
            return
        if hint.candidate is not None:
            self._pending.touch(hint.candidate, time.time())
        elif hint.reason in ("waiting", "lost"):
            self._awaited.discard(key)
            self._sweeps.pop(key, None)
        elif hint.reason != "poll" or key not in self._sweeps:
            self._awaited.discard(key)
            self._sweep(hint.root)

    def _reconcile(self) -> None:
        """Look at everything again: no event is trusted to have come."""
        self._next_reconcile = time.time() + self._config.reconcile_seconds
        there = {state.root for state in self._watcher.states() if state.watching != "waiting"}
        for root in self._config.roots:
            if root.key in there and root.key not in self._sweeps:
                self._sweep(root)

    def _sweep(self, root: Root) -> None:
        self._sweeps[root.key] = sweep(root, self._ledger, self._config.finished, Counts(), retry_failing=False)

    def _advance_sweeps(self) -> None:
        """Scan on for a slice of time, so that what finishes meanwhile need not wait for the end of a scan."""
        end = time.monotonic() + _SLICE_SECONDS
        for key, found in list(self._sweeps.items()):
            try:
                for one in found:
                    self._found(one)
                    if time.monotonic() >= end:
                        return
            except RootUnavailable as error:
                log.debug("%s", error)
            del self._sweeps[key]
            self._health.scanned()

    def _found(self, found: Any) -> None:
        now = time.time()
        if isinstance(found, Trouble):
            if (found.root.key, found.name) not in self._troubled:
                log.warning("%s: %s; what is below it is not seen", found.name or found.root.path, found.cause)
                self._troubled.add((found.root.key, found.name))
            return
        self._watcher.missed(found)
        due = min(found.changed_at, now) + self._config.settle_seconds
        failing = self._ledger.failing.get((found.root.key, found.name))
        self._pending.add(found, max(now, due, failing[1] if failing else 0.0))

    # --- doing it

    def _is_due(self) -> bool:
        due = self._pending.next_due()
        return due is not None and due <= time.time()

    def _commit_due(self) -> None:
        group = self._pending.take(time.time(), GROUP)
        if not group:
            return
        for outcome in self._committer.commit_group(group):
            self._take(outcome)
        for notice in self._history.notices:
            log.error("%s", notice)
            self._next_reconcile = 0.0
        self._history.notices.clear()

    def _take(self, outcome: Outcome) -> None:
        candidate, now = outcome.candidate, time.time()
        where = {"root": candidate.root.key, "workspace": candidate.name}
        due = self._ledger.note(outcome, now)
        if outcome.verdict in (Verdict.COMMITTED, Verdict.SKIPPED) and self._health.history(outcome.history_error):
            self._next_reconcile = 0.0  # the history is back: have it take in what the journals hold
        for warning in outcome.warnings:
            log.warning("%s: %s", candidate.name, warning, extra=where)
        if outcome.verdict is Verdict.COMMITTED:
            self._health.committed += 1
            assert outcome.status is not None
            log.info(
                "%s: committed (%s, run %d)", candidate.name, outcome.status.status, outcome.status.runs, extra=where
            )
        elif outcome.verdict is Verdict.BUSY:
            self._pending.add(replace(candidate, signature=""), now + _BUSY_SECONDS)
        elif due is not None:
            count = self._ledger.failing[candidate.root.key, candidate.name][0]
            level = logging.WARNING if count == 1 else logging.DEBUG
            log.log(level, "%s: %s; next attempt in %.0f s", candidate.name, outcome.cause, due - now, extra=where)
            self._pending.add(candidate, due)

    # --- signals, threads, reload

    def _check_threads(self) -> None:
        if self._crash is not None:
            raise ThreadDied(f"a watcher thread failed: {self._crash!r}") from self._crash
        if not self._stopping and (name := self._watcher.dead()) is not None:
            raise ThreadDied(f"the thread {name!r} has ended")

    def _take_signals(self) -> dict[int, Any]:
        def stop(_signal: int, _frame: FrameType | None) -> None:
            self._stopping = True
            self._hints.put(None)

        def reload(_signal: int, _frame: FrameType | None) -> None:
            self._reloading = True
            self._hints.put(None)

        def crashed(args: threading.ExceptHookArgs) -> None:
            self._crash = args.exc_value or RuntimeError("a thread ended")
            self._hints.put(None)

        threading.excepthook = crashed
        wanted = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
        return {number: signal.signal(number, handler) for number, handler in wanted.items()}

    def _give_back_signals(self, previous: dict[int, Any]) -> None:
        threading.excepthook = threading.__excepthook__
        for number, handler in previous.items():
            signal.signal(number, handler)

    def _reload(self) -> None:
        """SIGHUP: read the configuration anew; a bad one leaves the old one in force."""
        self._reloading = False
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
        self._next_reconcile = time.time() + config.reconcile_seconds
        self._watcher.stop()
        self._sweeps.clear()
        self._pending.keep_roots({root.key for root in config.roots})
        self._awaited = {root.key for root in config.roots}
        self._watcher = Watcher(config.roots, self._hints)
        self._watcher.start()
        log.info("the configuration was reloaded: %d roots", len(config.roots))
