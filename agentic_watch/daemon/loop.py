"""The loop: take hints, scan in slices, read ahead, commit what is due, tell how it goes.

Everything is done by one thread, so nothing here needs a lock; watchers only queue hints and signal
handlers only set a flag.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress

from agentic_watch.commit.committer import Committer
from agentic_watch.config import Config, ConfigError, NoRootsError, Root
from agentic_watch.daemon.due_commits import AGAIN_SECONDS, DueCommits
from agentic_watch.daemon.health import Health, HistoryProbe
from agentic_watch.daemon.nightly_prune import NightlyPrune
from agentic_watch.daemon.pending import Lane, Readiness
from agentic_watch.daemon.signals import Signals
from agentic_watch.daemon.single_instance import HistoryInUse
from agentic_watch.history import HistoryRefused
from agentic_watch.history.store import History
from agentic_watch.host.threads import left_to_main_thread
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.inventory.root_scans import RootScans
from agentic_watch.watch.change_queues import Hint, HintQueue
from agentic_watch.watch.watcher import Watcher
from agentic_watch.workspace.candidate import Candidate

log = logging.getLogger("agentic_watch.daemon")

_ROUND_SECONDS = 1.0
"""What is due by the clock alone is looked after so often, so that a finish pays for nothing but itself. Nor is a
signal found later: the kernel may hand it to another thread, and then nothing ends our wait."""
_FLUSH_SECONDS = 2.0
_HISTORY_PATIENCE_MS = 1_000
"""Others write for less, and rows can come later: nobody's finish waits longer for a history that is locked."""
_NAMED_AT_MOST = 8
"""Directories that could not be looked into."""


class StartAnew(Exception):
    """The process must end, so that the service manager starts it anew; the message says why."""


class Daemon:
    """One run of the daemon over one history. `load` reads the configuration anew for a reload.

    What waits is timed by the monotonic clock, so that a step of the host's clock neither delays nor repeats it.
    """

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        health: Health,
        tell_metrics: Callable[[History], None],
        nightly_prune: NightlyPrune,
    ) -> None:
        self._config = config
        self._nightly_prune = nightly_prune
        self._load = load
        self._health = health
        self._tell_metrics = tell_metrics
        self._hints = HintQueue()
        self._history = History(config.history, on_progress=health.at_work, patience_ms=_HISTORY_PATIENCE_MS)
        self._last_seen = LastSeen(self._history, config, waits=True)
        self._probe = HistoryProbe(self._history, self._last_seen, health)
        self._committer = Committer(config, self._history)
        self._signals = Signals(lambda: self._hints.wake())
        self._due = DueCommits(self._committer, self._last_seen, health, self._signals)
        self._health.oldest_pending = lambda: self._due.pending.waited(time.monotonic())
        self._scans = RootScans(self._last_seen)
        self._absent: set[str] = set()
        self._hanging: frozenset[str] = frozenset()
        self._next_flush = self._next_round = 0.0
        self._use(config)

    def _use(self, config: Config) -> None:
        """Take over what a configuration says; the watcher is made, and not started."""
        self._config = config
        self._committer.use(config)
        self._last_seen.open_runs.use(config)
        self._nightly_prune.keep = config.keep
        self._next_reconcile = time.monotonic() + config.reconcile_seconds
        self._readiness = Readiness(self._due.pending, (root.key for root in config.roots))
        self._is_ready = False
        # What a former watcher still has to say is not taken for words of this one.
        self._hints = HintQueue()
        self._watcher = Watcher(config.roots, self._hints, f"{config.history}.cookie", poll_seconds=config.poll_seconds)
        self._due.begin_anew(config, self._watcher.roots, self._hints)

    def run(self) -> None:
        """Work until SIGTERM or SIGINT. Raises HistoryRefused, StartAnew, HistoryInUse if another took over."""
        self._signals.install()
        try:
            self._probe.turned(time.monotonic())
            self._start_watcher()
            self._health.started(self._watcher.states())
            while not self._signals.stopping:
                self._turn()
        finally:
            with suppress(HistoryInUse):
                self._health.stopping()
            self._nightly_prune.stop()
            self._watcher.stop()
            self._scans.under_way.clear()
            with suppress(HistoryRefused):  # what is wrong with it is said already, or nobody waits for it any more
                self._last_seen.flush()
            self._committer.close()
            self._history.close()
            self._signals.restore()

    def _start_watcher(self) -> None:
        try:
            with left_to_main_thread():
                self._watcher.start()
        except RuntimeError as error:  # a limit of processes or memory
            raise StartAnew(f"the watcher cannot start: {error}") from error

    def _turn(self) -> None:
        """One turn of the loop, about a second at most: what comes meanwhile is the next one's."""
        self._handle_hints(self._until_due())
        if self._signals.reloading:
            self._reload()
        if self._scans.under_way:
            self._look_over_roots()
        self._due.prefetch()
        mended = not self._signals.stopping and self._due.commit()
        is_due = time.monotonic() >= self._next_round or not self._is_ready  # which this turn may have made it
        if is_due or mended or self._history.notices or self._signals.crash is not None:
            self._round(mended=mended)

    def _look_over_roots(self) -> None:
        for key, seconds in self._scans.advance(self._found, self._due.is_news, self._is_left_alone):
            self._readiness.seen(key)
            if seconds is not None:
                self._health.scanned(seconds)
                self._due.fresh.scanned(key)
                self._watcher.roots[key].scanned()

    def _is_left_alone(self, key: str) -> bool:
        """Whether a whole root does not answer now."""
        return self._watcher.roots[key].mounts.is_left_alone()

    def _round(self, *, mended: bool) -> None:
        """What is due by the clock, whether or not anything happened; `mended`: the history works again."""
        if (crash := self._signals.crash) is not None:
            raise StartAnew(f"a watcher thread failed: {crash!r}") from crash
        if not self._signals.stopping and (name := self._watcher.dead()) is not None:
            raise StartAnew(f"the thread {name!r} has ended")
        now = time.monotonic()
        if self._probe.turned(now) or mended:
            self._scans.under_way.clear()  # the history is back, or another: have it take in what the journals hold
            self._next_reconcile = now
        if now >= self._next_reconcile:
            self._reconcile()
        if now >= self._next_flush:
            self._last_seen.flush()
            self._next_flush = now + _FLUSH_SECONDS
        self._nightly_prune.turn(time.time())
        self._due.outcomes.turned(now)
        self._tell()
        self._next_round = min(time.monotonic() + min(_ROUND_SECONDS, self._health.interval), self._next_reconcile)

    def _tell(self) -> None:
        """How it goes, for systemd and everybody else; and what the log could not get rid of at once."""
        state, unreadable = self._health.state, self._scans.unreadable
        for handler in logging.getLogger().handlers:
            handler.flush()
            state.log_dropped = getattr(handler, "dropped", 0)
        state.unreadable, state.unreadable_names = len(unreadable), unreadable[:_NAMED_AT_MOST]
        state.pending, state.failing = len(self._due.pending), len(self._last_seen.failing)
        self._hanging = self._watcher.hanging()
        self._is_ready = self._readiness.is_reached(time.monotonic(), self._hanging)
        states, overflows = self._watcher.states(), self._watcher.overflows()
        self._health.turned(states, overflows, settled=self._is_ready, answers=self._watcher.answers)
        self._tell_metrics(self._history)

    # --- what is to be done

    def _handle_hints(self, seconds: float) -> None:
        """Wait for hints, at most so long, and handle those that are there then."""
        if seconds or not self._due.pending.is_due(time.monotonic(), Lane.EVENT):
            self._hints.is_idle.set()
        hints = self._hints.take(seconds)
        now = time.monotonic()
        for hint in hints:
            if hint.candidate is None:
                self._handle_root(hint)
            else:
                self._due.handle(hint.candidate, hint, now)

    def _until_due(self) -> float:
        """Seconds until something is to be done without a hint."""
        if self._signals.stopping or self._signals.reloading:
            return 0.0
        now, looked_over = time.monotonic(), self._scans.under_way
        if looked_over and not all(map(self._is_left_alone, looked_over)):
            return 0.0
        until = min(self._next_round, self._due.next_due())
        if looked_over and not self._hanging.issuperset(looked_over):
            until = min(until, now + AGAIN_SECONDS)
        return max(0.0, until - now)

    def _handle_root(self, hint: Hint) -> None:
        """A root came, went, or is to be looked at."""
        key = hint.root.key
        if hint.reason in ("waiting", "lost"):
            self._readiness.seen(key)
            self._scans.stop(key)
            self._absent.add(key)
        elif hint.reason != "poll" or key not in self._scans.under_way:
            if hint.read_only:
                self._cannot_write(hint.root)
            self._absent.discard(key)
            self._scans.begin(hint.root, self._config.finished, self._watcher.roots[key].left_alone())

    def _cannot_write(self, root: Root) -> None:
        """A hardened unit opens the roots that are there when it starts; one that comes later is read-only in it."""
        if root.key in self._absent and os.environ.get("NOTIFY_SOCKET"):
            raise StartAnew(f"{root.path}: came after the start, and a hardened unit can write only what was there")
        log.warning(
            "%s: is mounted read-only here, so nothing in it can be committed; mount it writable, or run "
            "agentic-watch service install, which has the service's units open it",
            root.path,
            extra={"root": root.key},
        )

    def _reconcile(self) -> None:
        """Look at everything again: no event is trusted to have come."""
        self._next_reconcile = time.monotonic() + self._config.reconcile_seconds
        self._last_seen.flush()
        self._history.close()  # a file that was spoiled under an open connection shows when it is opened anew
        there = {state.root for state in self._watcher.states() if state.watching in ("inotify", "poll")}
        for root in self._config.roots:
            if root.key in there and root.key not in self._scans.under_way:
                self._scans.begin(root, self._config.finished, self._watcher.roots[root.key].left_alone())
            self._watcher.roots[root.key].retry_inotify()

    def _found(self, candidate: Candidate) -> None:
        self._watcher.roots[candidate.root.key].ensure_watched(candidate.name)
        self._due.found(candidate)

    # --- reload

    def _reload(self) -> None:
        """SIGHUP: read the configuration anew; a bad one leaves the old one in force."""
        self._signals.reloading = False
        self._health.reloading()
        try:
            config = self._load()
        except (ConfigError, NoRootsError, HistoryRefused) as error:
            cause = "; ".join(error.problems) if isinstance(error, ConfigError) else error
            log.error("reload failed, keeping the current configuration: %s", cause)
            return
        if config.history != self._config.history:
            log.warning("%s: the new history path takes effect after a restart", config.history)
        self._watcher.stop()
        self._handle_hints(0.0)
        self._scans.keep_roots(config.roots)
        self._use(config._replace(history=self._config.history))
        self._last_seen.keep_roots({root.key for root in config.roots})
        self._start_watcher()
        log.info("the configuration was reloaded: %d root%s", len(config.roots), "" if len(config.roots) == 1 else "s")
