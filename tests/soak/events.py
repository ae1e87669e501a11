"""What happens to the host: one step is one event, chosen by a seed."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

from older_history import as_schema
from small_disk import IS_ALLOWED
from support import command, environment

from soak import stepped_clock
from soak.dispatches import FINISHED, Dispatch
from soak.simulated_host import SimulatedHost

_RUNNING = ("queued", "running")
_MOST = 150


class EventfulHost(SimulatedHost):
    """A host to which anything may happen."""

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
            (self._set_the_dispatchers_clock, 2),
            (self._set_the_daemons_clock, 2),
            (self._disk_fills_or_empties, (8 if self.full else 2) if IS_ALLOWED else 0),
            (self._history_is_held, 1),
            (self._prune, 1),
        ]
        return quiet + ([(self._kill, 2), (self._restart, 1), (self._upgrade, 1)] if self.lively else [])

    # --- dispatches

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
        if (dispatch := self._one(ended=True)) is not None and self.is_read(dispatch):
            dispatch.write("running", self.clock, self.rng, dispatch.runs + 1)

    def _change_after_the_end(self) -> None:
        if (dispatch := self._one(ended=True)) is not None and self.is_read(dispatch):
            dispatch.write("merged", self.clock, self.rng)

    def _overwrite_at_once(self) -> None:
        """A dispatcher that does not wait: what was finished may, or may not, have been read."""
        if (dispatch := self._one(ended=True)) is not None:
            assert dispatch.pending is not None
            self.may.add(dispatch.pending)
            dispatch.write("running", self.clock, self.rng, dispatch.runs + 1)

    def _move(self) -> None:
        """Its commits stay what they are, in this root or the other one."""
        if (dispatch := self._one(ended=True)) is not None and self.is_read(dispatch):
            root = self.rng.choice(self.roots)
            if not root.away:
                dispatch.move(root, f"{dispatch.name.rpartition('/')[0]}/moved-{self.made}")
                self.made += 1

    def _vanish(self) -> None:
        if (dispatch := self._one(ended=True)) is not None and self.is_read(dispatch):
            dispatch.vanish()
            self.dispatches.remove(dispatch)

    def _set_the_dispatchers_clock(self) -> None:
        self.clock.step()

    # --- the host

    def _root_goes_or_comes(self) -> None:
        self.rng.choice(self.roots).toggle()

    def _set_the_daemons_clock(self) -> None:
        """Forwards or back, by seconds or days; often to what it should be."""
        self.clock.daemon_is_off = self.rng.choice((0.0, 2.0, 7200.0, 200_000.0)) * self.rng.uniform(-1, 1)
        stepped_clock.step(self.offset, self.clock.daemon_is_off)

    def _disk_fills_or_empties(self) -> None:
        """The roots' disk or the history's. Nobody tells the daemon when there is room again."""
        disk = self.rng.choice(self.disks)
        if disk in self.full:
            disk.empty()
            self.full.remove(disk)
        else:
            disk.fill()
            self.full.add(disk)

    def _history_is_held(self) -> None:
        """Another program writes into the history for a moment."""
        if self.host.history.exists():
            with (
                closing(sqlite3.connect(self.host.history, isolation_level=None)) as connection,
                contextlib.suppress(sqlite3.OperationalError),  # the disk is full
            ):
                connection.execute("PRAGMA busy_timeout = 5000")
                connection.execute("BEGIN IMMEDIATE")
                time.sleep(self.rng.random() * 0.3)
                connection.execute("ROLLBACK")

    def _prune(self) -> None:
        """What was updated before some moment of these days goes; the archive has it."""
        before = self.rng.choice(sorted(self.must))[2] if self.must else ""
        if before and not self.full:  # nor could we read, then, what became of it
            moment = datetime.strptime(before[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
            hours = int((datetime.now(UTC) - moment).total_seconds() // 3600)
            self.wait_ready()  # a history of an earlier version is brought up to date first
            archive = self.base / f"archive-{len(self.told)}.jsonl"
            held = set(self.rows())
            force = self.rng.choice(([], ["--force"]))  # a root may be away
            self._run_beside("prune", "--older-than", f"{hours}h", "--yes", *force, "--archive", str(archive))
            self.was_pruned(held)

    # --- the daemon

    def _reload(self) -> None:
        self.reload()

    def _pass_beside_the_daemon(self) -> None:
        self._run_beside("--once")

    def _run_beside(self, *arguments: str) -> None:
        process = subprocess.run(
            command(["--config", str(self.service.config_file), *arguments]),
            env=environment(self.base),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert process.returncode in (0, 1, 3), process.stderr
        assert "Traceback" not in process.stderr, process.stderr

    def _kill(self) -> None:
        self.service.signal(signal.SIGKILL)
        self.service.wait_end()
        self.start()

    def _restart(self) -> None:
        self.stop()
        self.start()

    def _upgrade(self) -> None:
        """The history is one of an earlier version of the program, which this one brings up to date at its start."""
        if self.pruned_before or self.full:
            return  # that version knew of no pruning; an upgrade needs room
        self.stop()
        if self.host.history.exists():
            as_schema(self.host.history, self.rng.choice((1, 2)))
        self.start()
