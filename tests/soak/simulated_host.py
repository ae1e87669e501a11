"""The host: two roots, a history, a daemon, two disks; and what must have come of its dispatches."""

from __future__ import annotations

import signal
import sqlite3
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from daemon_support import Service
from small_disk import IS_ALLOWED, SmallDisk
from support import Host, query

from agentic_watch.daemon.daemon_state import look
from soak import stepped_clock
from soak.dispatches import Clock, Dispatch, Identity, Root

_PATIENCE_SECONDS = 150.0
_RECONCILE_SECONDS = 1.0
_UNHEARD_SECONDS = 3.0
"""Until then a daemon has told through its state file, once a second, that a root went away and came back."""


@dataclass
class SimulatedHost:
    """Two roots (one has a name), a history, a daemon. `must` and `may` are commits that have to be, and can be, rows;
    `gone` are those that were pruned (`updated_utc`, runs).

    A commit is only a `may` when its status was overwritten or removed before anybody had looked whether it was read.
    """

    base: Path
    rng: Random
    lively: bool = True
    must: set[Identity] = field(default_factory=set)
    may: set[Identity] = field(default_factory=set)
    gone: set[tuple[str, int]] = field(default_factory=set)
    dispatches: list[Dispatch] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    full: set[SmallDisk] = field(default_factory=set)
    pruned_before: str = ""
    made: int = 0
    log_before: int = 0

    def __post_init__(self) -> None:
        self.clock = Clock(self.rng)
        work, state = self.base / "work", self.base / "state"
        self.roots = [Root("named", work / "named"), Root(str(work / "plain"), work / "plain")]
        self.host = Host(self.base, self.roots[1].path, state / "history.db")
        self.disks = [SmallDisk(where, self.rng.choice(("tmpfs", "ext4"))) for where in (work, state)]
        self.offset = self.base / "clock"
        stepped_clock.step(self.offset, 0)
        self.service = Service(self.host, prefix=[sys.executable, stepped_clock.__file__, str(self.offset)])
        self.service.reconcile_seconds = _RECONCILE_SECONDS
        self.service.roots = [{"path": str(self.roots[0].path), "name": "named"}, {"path": str(self.roots[1].path)}]

    # --- the daemon

    def begin(self) -> None:
        """Mount the disks, start the daemon, and wait until it is ready."""
        for disk in self.disks if IS_ALLOWED else ():
            disk.mount()
        for root in self.roots:
            root.path.mkdir(parents=True)
        self.start()
        self.wait_ready()

    def start(self) -> None:
        """Start the daemon; a former one has ended."""
        self.log_before = len(self.service.log())
        self.service.start()

    def log(self) -> str:
        """What the daemon that runs now has said."""
        return self.service.log()[self.log_before :]

    def wait_ready(self) -> None:
        """Wait until it is: before that a signal finds no handler."""
        self.service.wait(lambda: "ready: " in self.log(), _PATIENCE_SECONDS)

    def stop(self) -> None:
        """End it cleanly."""
        self.wait_ready()
        code = self.service.stop()
        assert code == 0, code

    def reload(self) -> None:
        """Have it read its configuration anew."""
        self.service.configure()
        self.wait_ready()
        self.service.signal(signal.SIGHUP)

    def end(self) -> None:
        """Take the daemon's life and the disks; look into its log."""
        try:
            self.service.__exit__(None, None, None)
        finally:
            for disk in self.disks if IS_ALLOWED else ():
                disk.unmount()

    # --- what it has done

    def is_read(self, dispatch: Dispatch) -> bool:
        """Wait until what a dispatch asks for is committed; False when that cannot be now."""
        if self.full or dispatch.root.away:
            return False
        self.service.wait(lambda: bool(self.rows_of(dispatch)) or self.is_taken_for_done(dispatch), _PATIENCE_SECONDS)
        self.must |= self.rows_of(dispatch)
        if self.is_taken_for_done(dispatch):  # its row may have been on its way to the history when that was pruned
            assert dispatch.pending is not None
            self.may.add(dispatch.pending)
        return True

    def is_taken_for_done(self, dispatch: Dispatch) -> bool:
        """Whether it has a line and is older than what was pruned."""
        assert dispatch.pending is not None
        return dispatch.pending[2] < self.pruned_before and dispatch.has_line()

    def rows_of(self, dispatch: Dispatch) -> set[Identity]:
        """The row of what a dispatch asks for."""
        assert dispatch.pending is not None
        return {dispatch.pending} & set(self.rows())

    def rows(self) -> list[Identity]:
        """The history's rows."""
        try:
            return [
                (row["root"], row["workspace"], row["updated_utc"], row["runs"])
                for row in query(self.host.history, "SELECT root, workspace, updated_utc, runs FROM dispatch_history")
            ]
        except sqlite3.DatabaseError:
            return []

    def was_pruned(self, held: set[Identity]) -> None:
        """Note what the history does not hold any more of the rows that it held before.

        What it did not hold yet may come: it is taken for done when it has a line, and recorded when it has none.
        """
        (before,) = query(self.host.history, "SELECT ifnull(max(pruned_before), '') FROM about")[0]
        self.pruned_before = before
        absent = {one for one in self.must if one[2] < before} - set(self.rows())
        self.must -= absent
        self.may |= absent - held
        self.gone |= {(utc, runs) for _, _, utc, runs in absent & held}

    def come_to_rest(self) -> None:
        """All roots are back, the disks have room; wait until all that is finished on disk is committed
        and every root is watched."""
        for root in self.roots:
            if root.away:
                root.toggle()
        for disk in self.full:
            disk.empty()
        self.full.clear()
        for dispatch in self.dispatches:
            if dispatch.pending is not None and self.is_read(dispatch) and not self.is_taken_for_done(dispatch):
                self.service.wait(dispatch.is_marked, _PATIENCE_SECONDS)
        since = time.monotonic()
        self.service.wait(lambda: self._watches_all_roots(since + _UNHEARD_SECONDS), _PATIENCE_SECONDS)

    def _watches_all_roots(self, told_after: float) -> bool:
        """By what the daemon has told after a moment of the monotonic clock."""
        _, state = look(str(self.host.history))
        if state is None or state.beat < told_after:
            return False
        return all(root.watching in ("inotify", "poll") for root in state.roots)
