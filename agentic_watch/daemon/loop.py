"""The main loop: takes hints, scans in slices, prefetches, commits what is due, publishes the state.

One thread does all of it, so nothing here needs a lock; watchers only queue hints and signal handlers only set a flag.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress

from agentic_watch import counted
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
from agentic_watch.host.processes import give_back_free_memory, give_back_large_blocks
from agentic_watch.host.threads import left_to_main_thread
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.inventory.root_scans import RootScans
from agentic_watch.watch.change_queues import Hint, HintQueue
from agentic_watch.watch.watcher import Watcher
from agentic_watch.workspace.candidate import Candidate

log = logging.getLogger("agentic_watch.daemon")

_ROUND_SECONDS = 1.0
"""Interval of periodic work, which is kept out of the path of a commit. It also bounds the delay of a signal that the
kernel delivers to another thread, which does not interrupt our wait."""
_FLUSH_SECONDS = 2.0
_HISTORY_PATIENCE_MS = 1_000
"""How long a commit waits for a locked history: other writers take less, and rows can be inserted later."""
_NAMED_AT_MOST = 8
"""Directories that could not be read and are named in the state."""


class RestartNeeded(Exception):
    """The process must exit, so that the service manager restarts it; the message says why."""


class Daemon:
    """One run of the daemon over one history. `load` reads the configuration again for a reload.

    Timers use the monotonic clock, so that a step of the host's clock neither delays nor repeats work.
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
        self._committer = Committer(config, self._history, self._is_left_alone)
        self._signals = Signals(lambda: self._hints.wake())
        self._due = DueCommits(self._committer, self._last_seen, health, self._signals)
        self._health.oldest_pending = lambda: self._due.pending.waited(time.monotonic())
        self._scans = RootScans(self._last_seen)
        self._absent: set[str] = set()
        self._hanging: frozenset[str] = frozenset()
        self._next_flush = self._next_round = 0.0
        self._use(config)

    def _use(self, config: Config, former: Watcher | None = None) -> None:
        """Apply a configuration and create its watcher, which is not started yet."""
        self._config = config
        self._committer.use(config)
        self._last_seen.open_runs.use(config)
        self._nightly_prune.keep = config.keep
        self._next_reconcile = time.monotonic() + config.reconcile_seconds
        self._readiness = Readiness(self._due.pending, (root.key for root in config.roots))
        self._is_ready = False
        # A new queue, so that late hints of the previous watcher are not taken for this one's.
        self._hints = HintQueue()
        cookie, poll_seconds = f"{config.history}.cookie", config.poll_seconds
        self._watcher = Watcher(config.roots, self._hints, cookie, poll_seconds=poll_seconds, former=former)
        self._due.begin_anew(config, self._watcher.roots, self._hints)

    def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises HistoryRefused, RestartNeeded, or HistoryInUse if another daemon took
        over."""
        give_back_large_blocks()  # before the first scan and the first thread
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
            with suppress(HistoryRefused):  # already logged, or irrelevant at the end
                self._last_seen.flush()
            self._committer.close()
            self._history.close()
            self._signals.restore()

    def _start_watcher(self) -> None:
        try:
            with left_to_main_thread():
                self._watcher.start()
        except RuntimeError as error:  # a limit of processes or memory
            raise RestartNeeded(f"the watcher cannot start: {error}") from error

    def _turn(self) -> None:
        """One turn of the loop, about a second at most: what arrives meanwhile is handled in the next one."""
        self._handle_hints(self._until_due())
        if self._signals.reloading:
            self._reload()
        if self._scans.under_way:
            self._look_over_roots()
        self._due.prefetch()
        mended = not self._signals.stopping and self._due.commit()
        is_due = time.monotonic() >= self._next_round or not self._is_ready  # this turn may have made it ready
        if is_due or mended or self._history.notices or self._signals.crash is not None:
            self._round(mended=mended)

    def _look_over_roots(self) -> None:
        for key, seconds in self._scans.advance(self._found, self._due.is_news, self._is_root_left_alone):
            self._readiness.seen(key)
            if seconds is not None:
                self._health.scanned(seconds)
                self._due.fresh.scanned(key)
                self._watcher.roots[key].scanned()
                give_back_free_memory()

    def _is_left_alone(self, place: Candidate) -> bool:
        """Whether the root of a place, or the mount in which it lies, does not answer."""
        return self._watcher.roots[place.root.key].mounts.is_left_alone(place.name)

    def _is_root_left_alone(self, key: str) -> bool:
        """Whether a whole root does not answer now."""
        return self._watcher.roots[key].mounts.is_left_alone()

    def _round(self, *, mended: bool) -> None:
        """Periodic work; `mended`: the history is available again."""
        if (crash := self._signals.crash) is not None:
            raise RestartNeeded(f"a watcher thread failed: {crash!r}") from crash
        if not self._signals.stopping and (name := self._watcher.dead()) is not None:
            raise RestartNeeded(f"the thread {name!r} has ended")
        now = time.monotonic()
        if self._probe.turned(now) or mended:
            self._scans.under_way.clear()  # the history is back or was replaced: insert what the journals hold
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
        """Publish the state, and flush log lines that could not be written at once."""
        state, unreadable = self._health.state, self._scans.unreadable
        for handler in logging.getLogger().handlers:
            handler.flush()
            state.log_dropped = getattr(handler, "dropped", 0)
        state.unreadable, state.unreadable_names = len(unreadable), unreadable[:_NAMED_AT_MOST]
        state.pending, state.failing = len(self._due.pending), len(self._last_seen.failing)
        self._hanging = self._watcher.hanging()
        self._is_ready = self._readiness.is_reached(time.monotonic(), self._hanging, self._due.reading)
        states, overflows = self._watcher.states(), self._watcher.overflows()
        self._health.turned(states, overflows, settled=self._is_ready, answers=self._watcher.answers)
        self._tell_metrics(self._history)

    # --- hints and scans

    def _handle_hints(self, seconds: float) -> None:
        """Wait for hints, at most `seconds`, and handle all that are queued then."""
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
        """Seconds until work is due without a hint."""
        if self._signals.stopping or self._signals.reloading:
            return 0.0
        now, looked_over = time.monotonic(), self._scans.under_way
        if looked_over and not all(map(self._is_root_left_alone, looked_over)):
            return 0.0
        until = min(self._next_round, self._due.next_due())
        if looked_over and not self._hanging.issuperset(looked_over):
            until = min(until, now + AGAIN_SECONDS)
        return max(0.0, until - now)

    def _handle_root(self, hint: Hint) -> None:
        """A root appeared, disappeared, or has to be scanned."""
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
        """Handle a read-only root. A hardened unit makes only roots writable that exist at its start; others need a
        restart."""
        if root.key in self._absent and os.environ.get("NOTIFY_SOCKET"):
            raise RestartNeeded(f"{root.path}: appeared after the start; a hardened unit cannot write to it")
        log.warning(
            "%s: is mounted read-only here, so nothing in it can be committed; mount it writable, or run "
            "agentic-watch service install, which adds it to the service's units",
            root.path,
            extra={"root": root.key},
        )

    def _reconcile(self) -> None:
        """Scan everything again: events may have been missed."""
        self._next_reconcile = time.monotonic() + self._config.reconcile_seconds
        self._last_seen.flush()
        self._history.close()  # corruption under an open connection is detected when the file is opened again
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
        """SIGHUP: read the configuration again; an invalid one is rejected and the current one kept."""
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
        self._use(config._replace(history=self._config.history), self._watcher)
        self._last_seen.keep_roots({root.key for root in config.roots})
        self._start_watcher()
        log.info("configuration reloaded: %s", counted(len(config.roots), "root"))
