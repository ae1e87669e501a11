"""The host and what happens to it: one step is one event, chosen by a seed."""

from __future__ import annotations

import resource
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from daemon_support import Service
from older_history import as_schema
from support import Host, command, environment, query

from soak.dispatches import FINISHED, Clock, Dispatch, Identity, Root

_RUNNING = ("queued", "running")
_MOST = 150
_PATIENCE_SECONDS = 120.0
_RECONCILE_SECONDS = 1.0
_UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@dataclass
class SimulatedHost:
    """Two roots (one has a name), a history, a daemon. `must` and `may` are commits that have to be, and can be, rows.

    A commit is only a `may` when its status was overwritten or removed before anybody had looked whether it was read.
    """

    base: Path
    rng: Random
    lively: bool = True
    must: set[Identity] = field(default_factory=set)
    may: set[Identity] = field(default_factory=set)
    dispatches: list[Dispatch] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    full: bool = False
    made: int = 0
    starts: int = 0

    def __post_init__(self) -> None:
        self.clock = Clock(self.rng)
        self.roots = [Root("named", self.base / "named"), Root(str(self.base / "plain"), self.base / "plain")]
        for root in self.roots:
            root.path.mkdir(parents=True)
        self.host = Host(self.base, self.roots[1].path, self.base / "state" / "history.db")
        self.service = Service(self.host)
        self.service.reconcile_seconds = _RECONCILE_SECONDS
        self.service.roots = [{"path": str(self.roots[0].path), "name": "named"}, {"path": str(self.roots[1].path)}]

    # --- what can happen

    def step(self) -> None:
        """One event, and a moment for the daemon."""
        self.clock.pass_on()
        events = self._events()
        event = self.rng.choices([one for one, _ in events], [weight for _, weight in events])[0]
        self.told.append(event.__name__.strip("_"))
        event()
        time.sleep(self.rng.random() * 0.02)

    def _events(self) -> list[tuple[Callable[[], None], int]]:
        quiet = [
            (self._begin, 30 if len(self.dispatches) < _MOST else 0),
            (self._finish, 40),
            (self._run_again, 15),
            (self._change_after_the_end, 8),
            (self._overwrite_at_once, 4),
            (self._move, 4),
            (self._vanish, 12),
            (self._root_goes_or_comes, 2),
            (self._reload, 2),
            (self._pass_beside_the_daemon, 2),
            (self._set_the_clock, 2),
            (self._disk_fills_or_empties, 2),
            (self._history_is_held, 1),
        ]
        return quiet + ([(self._kill, 2), (self._restart, 1), (self._upgrade, 1)] if self.lively else [])

    def _begin(self) -> None:
        root = self.rng.choice(self.roots)
        if not root.away:
            name = f"org{self.rng.randrange(3)}/repo{self.rng.randrange(5)}/task-{self.made}"
            self.made += 1
            dispatch = Dispatch(root, name, self.rng.choice(("meta", "root")))
            dispatch.write(self.rng.choice(_RUNNING), self.clock, self.rng)
            self.dispatches.append(dispatch)

    def _one(self, *, ended: bool) -> Dispatch | None:
        there = [d for d in self.dispatches if not d.root.away and (d.pending is not None) == ended]
        return self.rng.choice(there) if there else None

    def _finish(self) -> None:
        if (dispatch := self._one(ended=False)) is not None:
            dispatch.write(self.rng.choice(FINISHED), self.clock, self.rng)

    def _run_again(self) -> None:
        if (dispatch := self._one(ended=True)) is not None and self._is_read(dispatch):
            dispatch.runs += 1
            dispatch.write("running", self.clock, self.rng)

    def _change_after_the_end(self) -> None:
        if (dispatch := self._one(ended=True)) is not None and self._is_read(dispatch):
            dispatch.write("merged", self.clock, self.rng)

    def _overwrite_at_once(self) -> None:
        """A dispatcher that does not wait: what was finished may, or may not, have been read."""
        if (dispatch := self._one(ended=True)) is not None:
            assert dispatch.pending is not None
            self.may.add(dispatch.pending)
            dispatch.runs += 1
            dispatch.write("running", self.clock, self.rng)

    def _move(self) -> None:
        if (dispatch := self._one(ended=True)) is not None and self._is_read(dispatch):
            assert dispatch.pending is not None
            dispatch.move(f"{dispatch.name.rpartition('/')[0]}/moved-{self.made}")
            self.made += 1
            root, _, utc, runs = dispatch.pending
            # A moved workspace keeps its identity; one that is seen as new is a commit of the new name.
            dispatch.pending = (root, dispatch.name, utc, runs)
            self.may |= {(root, dispatch.name, u, r) for _, _, u, r in self._lineage(dispatch)}

    def _lineage(self, dispatch: Dispatch) -> set[Identity]:
        names = {dispatch.name, *dispatch.former}
        return {one for one in self.must | self.may if one[0] == dispatch.root.key and one[1] in names}

    def _vanish(self) -> None:
        if (dispatch := self._one(ended=True)) is not None and self._is_read(dispatch):
            dispatch.vanish()
            self.dispatches.remove(dispatch)

    def _root_goes_or_comes(self) -> None:
        self.rng.choice(self.roots).toggle()

    def _set_the_clock(self) -> None:
        self.clock.step()

    def _reload(self) -> None:
        self.service.configure()
        self.service.wait_ready(self.starts)  # before that a signal finds no handler
        self.service.signal(signal.SIGHUP)

    def _kill(self) -> None:
        self.service.signal(signal.SIGKILL)
        self.service.wait_end()
        self.starts = len(self.service.lines("ready: "))  # one that was killed before may never have said so
        self._start()

    def _restart(self) -> None:
        self.service.wait_ready(self.starts)
        code = self.service.stop()
        assert code == 0, code
        self._start()

    def _upgrade(self) -> None:
        """The history is one of an earlier version of the program, which this one brings up to date at its start."""
        self.service.wait_ready(self.starts)
        code = self.service.stop()
        assert code == 0, code
        if self.host.history.exists():
            as_schema(self.host.history, self.rng.choice((1, 2)))
        self._start()

    def _pass_beside_the_daemon(self) -> None:
        arguments = ["--config", str(self.service.config_file), "--once"]
        process = subprocess.run(
            command(arguments), env=environment(self.base), capture_output=True, text=True, timeout=120, check=False
        )
        assert process.returncode in (0, 1, 3), process.stderr
        assert "Traceback" not in process.stderr, process.stderr

    def _disk_fills_or_empties(self) -> None:
        """For the daemon, every write that makes a file longer fails (EFBIG stands for ENOSPC; setrlimit(2))."""
        self.service.wait_ready(self.starts)  # it could not tell: its log is a file, too
        self.full = not self.full
        limit = (0, resource.RLIM_INFINITY) if self.full else _UNLIMITED
        resource.prlimit(self.service.pid, resource.RLIMIT_FSIZE, limit)
        if not self.full:
            self._reload()  # its operator's remedy: what failed is tried now, not when its back-off of minutes is over

    def _history_is_held(self) -> None:
        """Another program writes into the history for a moment."""
        if self.host.history.exists():
            with closing(sqlite3.connect(self.host.history, isolation_level=None)) as connection:
                connection.execute("PRAGMA busy_timeout = 5000")
                connection.execute("BEGIN IMMEDIATE")
                time.sleep(self.rng.random() * 0.3)
                connection.execute("ROLLBACK")

    # --- the daemon, and what it has done

    def _start(self) -> None:
        self.full = False
        self.starts += 1
        self.service.start()

    def begin(self) -> None:
        """Start the daemon, and wait until it is ready."""
        self._start()
        self.service.wait_ready(self.starts)

    def end(self) -> None:
        """Take the daemon's life; look into its log."""
        self.service.__exit__(None, None, None)

    def _is_read(self, dispatch: Dispatch) -> bool:
        """Wait until what a dispatch asks for is committed; False when that cannot be now."""
        assert dispatch.pending is not None
        if self.full or dispatch.root.away:
            return False
        self.service.wait(lambda: bool(self._rows_of(dispatch)), _PATIENCE_SECONDS)
        self.must |= self._rows_of(dispatch)
        return True

    def _rows_of(self, dispatch: Dispatch) -> set[Identity]:
        """The rows of what a dispatch asks for, under the name that it has or had."""
        assert dispatch.pending is not None
        root, _, utc, runs = dispatch.pending
        return {(root, name, utc, runs) for name in (dispatch.name, *dispatch.former)} & set(self.rows())

    def rows(self) -> list[Identity]:
        """The history's rows."""
        try:
            return [
                (row["root"], row["workspace"], row["updated_utc"], row["runs"])
                for row in query(self.host.history, "SELECT root, workspace, updated_utc, runs FROM dispatch_history")
            ]
        except sqlite3.DatabaseError:
            return []

    def come_to_rest(self) -> None:
        """All roots are back, the disk has room; wait until all that is finished on disk is committed
        and every root is watched."""
        for root in self.roots:
            if root.away:
                root.toggle()
        if self.full:
            self._disk_fills_or_empties()
        for dispatch in self.dispatches:
            if dispatch.pending is not None and self._is_read(dispatch):
                self.service.wait(dispatch.is_marked, _PATIENCE_SECONDS)
        self.service.wait(self._watches_all_roots, _PATIENCE_SECONDS)

    def _watches_all_roots(self) -> bool:
        """By the log: what is told through the state file is a second old."""
        last: dict[str, bool] = {}
        for line in self.service.log().splitlines():
            _, _, said = line.partition(f"{self.base}/")
            root, _, text = said.partition(": ")
            if "waiting for it" in text or text.startswith("is there, watching it"):
                last[root] = text.startswith("is there")
        return all(last.values())
