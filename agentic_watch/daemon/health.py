"""Health of the daemon and its history, reported to systemd and, through the instance file, to `agentic-watch
status`."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from agentic_watch import __version__, counted
from agentic_watch.daemon.daemon_state import DaemonState
from agentic_watch.daemon.single_instance import Instance
from agentic_watch.daemon.systemd_notify import Notifier
from agentic_watch.history import HistoryError
from agentic_watch.history.store import History
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.watch import RootState
from agentic_watch.workspace.instant import now_text

log = logging.getLogger("agentic_watch.daemon")

_PUBLISH_SECONDS = 1.0
_REFRESH_SECONDS = 10.0
# Longer than the longest turn: a timeout extended in one turn must last until the next.
_EXTEND_SECONDS = 90.0
_SILENT_SECONDS = 30.0
_ROOTS_BY_NAME = 8
_PROBE_SECONDS = 5.0
_LOCKED = "database is locked"
"""Another process writes (SQLITE_BUSY): an error only if a commit meets it."""


class Health:
    """Maintains the daemon's `state` and publishes it; `snapshot` returns a copy.

    `oldest_pending` returns how many seconds the oldest pending workspace has waited.
    """

    def __init__(self, notifier: Notifier, instance: Instance) -> None:
        self._notifier = notifier
        self._instance = instance
        self.state = DaemonState(
            pid=os.getpid(),
            version=__version__,
            started_at=now_text(),
            updated_at=now_text(),
            phase="starting",
            roots=(),
            pending=0,
            failing=0,
            committed=0,
        )
        self._published: DaemonState | None = None
        self._last_publish = 0.0
        self._last_alive = 0.0
        self._silent = False
        self._reloading = False
        self._untold = False
        self._at_work = ""
        self.oldest_pending: Callable[[], float] = lambda: 0.0

    @property
    def interval(self) -> float:
        """Seconds within which the loop must turn again: a third of systemd's watchdog interval, so that a watcher that
        misses two probes is logged before the third ends the process; less when there is something to publish."""
        watchdog = self._notifier.watchdog_seconds
        wanted = _PUBLISH_SECONDS if self._untold or self._notifier.has_owed else _REFRESH_SECONDS
        return wanted if watchdog is None else min(wanted, watchdog / 3)

    def started(self, roots: tuple[RootState, ...]) -> None:
        """The threads run; nothing has been scanned yet."""
        self.state.roots = roots
        self._publish(time.monotonic())

    def turned(
        self, roots: tuple[RootState, ...], overflows: int, *, settled: bool, answers: Callable[[], bool] = lambda: True
    ) -> None:
        """The loop completed a turn. `settled`: every root has been scanned and everything due is committed.

        `answers` returns whether the watcher answered; it is called no more often than the watchdog interval requires.
        """
        now = time.monotonic()
        if now - self._last_alive >= self.interval / 2:
            self._tell_alive(now, answers())
        self.state.roots, self.state.overflows = roots, overflows
        self._notifier.send_owed()
        if settled and (self.state.phase == "starting" or self._reloading):
            self._become_ready(now)
        self._publish(now)

    def _tell_alive(self, now: float, answered: bool) -> None:
        if answered:
            self._notifier.alive()
            self._last_alive, self._silent = now, False
        elif not self._silent and now - self._last_alive >= min(_SILENT_SECONDS, 1.5 * self.interval):
            self._silent = True
            log.error(
                "inotify has not answered for %.0f s; until it does, only reconciling finds workspaces, "
                "and no WATCHDOG=1 is sent to systemd",
                now - self._last_alive,
            )

    def _become_ready(self, now: float) -> None:
        """Publish the state first: whoever waits for READY=1 or the log line may read it at once."""
        self._reloading = False
        first = self.state.phase == "starting"
        self.state.phase = "running"
        self._last_publish = 0.0
        self._publish(now)
        self._notifier.ready()
        if first:
            log.info("ready: %s", self.text())

    def _publish(self, now: float) -> None:
        """Publish changes at most once a second, and a heartbeat every ten seconds."""
        since = now - self._last_publish
        changed = self._untold = self.state != self._published
        if since < _PUBLISH_SECONDS or (not changed and since < _REFRESH_SECONDS):
            return
        if self.state.phase == "starting":
            self._notifier.starting(self.text(), _EXTEND_SECONDS)
        elif changed:
            self._notifier.status(self.text())
        self._published, self._untold = replace(self.state, counted=self.state.counted.copy()), False
        self._last_publish = now
        self._instance.publish(self.snapshot())

    def snapshot(self) -> DaemonState:
        """A copy of the current state, for other threads, with `oldest_pending` computed."""
        return replace(
            self.state,
            updated_at=now_text(),
            beat=round(time.monotonic(), 3),
            oldest_pending_seconds=round(self.oldest_pending(), 1),
            counted=self.state.counted.copy(),
        )

    def history(self, error: str) -> bool:
        """Record whether the history is available (an empty `error`); True when it became available again."""
        before = self.state.history_error
        if error == before:
            return False
        if error:
            text = "%s; journals and markers are still written; rows will be added once the history is available"
            log.error(text, error)
        else:
            log.info("history available again")
        self.state.history_error = error
        return not error

    def at_work(self, what: str) -> None:
        """Called repeatedly during long work, so that systemd and `status` see that the daemon is alive."""
        if what != self._at_work:
            self._at_work = what
            log.info("%s", what)
        if (now := time.monotonic()) - self._last_publish >= _PUBLISH_SECONDS:
            self._last_publish = now
            self._notifier.starting(what, _EXTEND_SECONDS)
            self._notifier.alive()

    def scanned(self, seconds: float) -> None:
        """A complete scan of a root took `seconds`."""
        self.state.last_scan_at = now_text()
        self.state.counted.scanned(seconds, time.time())

    def reloading(self) -> None:
        """A reload of the configuration begins."""
        self._reloading = True
        self._notifier.reloading()

    def stopping(self) -> None:
        """Publish the last state."""
        self._notifier.stopping()
        self.state.phase = "stopping"
        self._instance.publish(self.snapshot())

    def text(self) -> str:
        """One line for systemd: how each root is watched, and the counts."""
        counts = f"{self.state.committed} committed, {self.state.pending} pending, {self.state.failing} failing"
        history = f"; history: {self.state.history_error}" if self.state.history_error else ""
        return f"{_roots_text(self.state.roots)}; {counts}{history}"


def _roots_text(roots: tuple[RootState, ...]) -> str:
    """All roots by name; when there are many, only those not watched by inotify."""
    odd = [root for root in roots if root.watching != "inotify" or root.detail]
    named = roots if len(roots) <= _ROOTS_BY_NAME else odd[:_ROOTS_BY_NAME]
    parts = []
    if len(roots) > len(named):
        ways = Counter(root.watching for root in roots)
        parts.append(f"{len(roots)} roots: {', '.join(f'{count} {how}' for how, count in ways.items())}")
    for root in named:
        how = f"{root.watching}, {counted(root.watches, 'watch')}" if root.watching == "inotify" else root.watching
        parts.append(f"{root.root}: {how}" + (f" ({root.detail})" if root.detail else ""))
    return "; ".join(parts)


class HistoryProbe:
    """Checks every few seconds that the history works and is still the same file, so that errors begin and end in the
    state even while nothing is committed. Each error is logged once. Times are passed in."""

    def __init__(self, history: History, last_seen: LastSeen, health: Health) -> None:
        self._history = history
        self._last_seen = last_seen
        self._health = health
        self._next = 0.0
        self._said: set[str] = set()
        self._another = False

    def turned(self, now: float) -> bool:
        """Check the history when due; returns whether it is available again or was replaced, so that everything must be
        rescanned."""
        back = now >= self._next and self._ask(now)
        if self._take_notices():
            self._another = True
            back |= self._ask(now)
        if self._health.state.history_error:
            return False
        another, self._another = self._another, False
        self._said.clear()
        return back or another

    def _take_notices(self) -> bool:
        """Log new notices of the history once; a replaced file that is corrupt makes a notice at each attempt."""
        notices = list(dict.fromkeys(self._history.notices))
        self._history.notices.clear()
        for notice in notices:
            if notice not in self._said:
                log.error("%s", notice)
                self._said.add(notice)
        if notices:
            self._last_seen.distrust()
        return bool(notices)

    def _ask(self, now: float) -> bool:
        """Take the write lock, and after an error also write a page; returns whether the history is available again."""
        self._next = now + _PROBE_SECONDS
        before = self._health.state.history_error
        try:
            self._history.open()  # replaces a corrupt file by a new one
            if not os.access(self._history.path, os.W_OK):  # SQLite then opens it for reading, without an error
                raise HistoryError(f"{self._history.path}: is not writable by this user")
            with self._history.transaction(durable=False) as connection:
                if before:  # only a write shows that a full disk has space again
                    (version,) = connection.execute("PRAGMA user_version").fetchone()
                    connection.execute(f"PRAGMA user_version = {version}")
        except HistoryError as error:
            if before or _LOCKED not in str(error):
                self._health.history(str(error))
            return False
        return self._health.history("")
