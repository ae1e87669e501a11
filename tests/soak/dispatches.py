"""The dispatches of a simulated host: what their dispatcher writes, and what must be committed of them."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

FINISHED = ("completed", "merged", "ready-for-review", "failed", "blocked", "rejected")
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)

Identity = tuple[str, str, str, int]
"""(root's key, workspace, `updated_utc`, runs): a row of the history."""


@dataclass(slots=True)
class Clock:
    """The time that dispatchers write. It goes on by leaps, and now and then somebody sets it back.

    `daemon_is_off` is by how many seconds the daemon's own clock is wrong.
    """

    rng: random.Random
    now: datetime = _EPOCH
    daemon_is_off: float = 0.0

    def pass_on(self) -> None:
        """Some seconds or hours go by."""
        self.now += timedelta(seconds=self.rng.choice((1, 30, 3600)) * self.rng.random() + 0.001)

    def step(self) -> None:
        """Somebody sets the clock."""
        self.now += timedelta(seconds=self.rng.uniform(-7200, 7200))

    def write(self) -> tuple[str, str]:
        """A new instant: as a dispatcher writes it, and as the history has it. No two are the same."""
        nanoseconds = f"{self.rng.randrange(10**9):09d}"
        utc = self.now.strftime("%Y-%m-%dT%H:%M:%S.") + nanoseconds
        zone = self.rng.choice((0, 2, -5))
        local = (self.now + timedelta(hours=zone)).strftime("%Y-%m-%dT%H:%M:%S.") + nanoseconds
        return local + (f"{zone:+03d}:00" if zone else "Z"), f"{utc}Z"


@dataclass(slots=True)
class Root:
    """A root and where it lies while it is away."""

    key: str
    path: Path
    away: bool = False

    @property
    def aside(self) -> Path:
        return self.path.with_name(f"{self.path.name}.away")

    def toggle(self) -> None:
        """It goes away (an unmount, a rename), or comes back."""
        if self.away:
            self.aside.rename(self.path)
        else:
            self.path.rename(self.aside)
        self.away = not self.away


@dataclass(slots=True)
class Dispatch:
    """One workspace through its life. `pending` is the commit that its status asks for, None while it runs; it keeps
    the name under which it was made when the workspace is moved."""

    root: Root
    name: str
    layout: str
    runs: int = 0
    pending: Identity | None = None
    former: list[str] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.root.path / self.name

    def write(self, status: str, clock: Clock, rng: random.Random, runs: int | None = None) -> None:
        """Write the status as a dispatcher does: whole, under another name first; now and then in place.

        Where the disk is full the former one stays, or is torn when it was written in place.
        """
        runs = self.runs if runs is None else runs
        text, utc = clock.write()
        document = {"status": status, "updated_at": text, "runs": runs, "agent": "codex:gpt-5", "task": self.name}
        directory = self.path / ".meta" if self.layout == "meta" else self.path
        whole, target = rng.random() < 0.8, directory / "status.json"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if status in FINISHED and rng.random() < 0.3:
                _report(self.path, rng)
            _put(target, json.dumps(document), clock, whole=whole)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self.pending = self.pending if whole else None
        else:
            self.runs = runs
            self.pending = (self.root.key, self.name, utc, runs) if status in FINISHED else None

    def move(self, root: Root, name: str) -> None:
        """Somebody gives the workspace another name, in its root or another one."""
        target = root.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        self.path.rename(target)
        self.former.append(self.name)
        self.root, self.name = root, name

    def vanish(self) -> None:
        """The dispatcher cleans up; again while somebody still writes there."""
        while self.path.exists():
            shutil.rmtree(self.path, ignore_errors=True)

    def is_marked(self) -> bool:
        """Whether the marker vouches for what the status says."""
        marker = self.path / ".meta" / "commit.json"
        return marker.exists() and _identity(marker) == self._identity()

    def has_line(self) -> bool:
        """Whether the journal holds what the status says."""
        return self._identity() in {(line["updated_at"], line["runs"]) for line in self.lines()}

    def _identity(self) -> tuple[str, int]:
        return _identity(self.path / (".meta/status.json" if self.layout == "meta" else "status.json"))

    def lines(self) -> list[dict[str, Any]]:
        """The journal, parsed."""
        journal = self.path / ".meta" / "journal.jsonl"
        return [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []


def _put(target: Path, text: str, clock: Clock, *, whole: bool) -> None:
    if not whole:
        target.write_text(text)
        return
    new = target.with_name(".status.json.new")
    new.write_text(text)
    if clock.daemon_is_off:  # a clock that was set is the file system's, too
        moment = time.time() + clock.daemon_is_off
        os.utime(new, (moment, moment))
    os.replace(new, target)


def _identity(file: Path) -> tuple[str, int]:
    document = json.loads(file.read_text())
    return document["updated_at"], document["runs"]


def _report(workspace: Path, rng: random.Random) -> None:
    findings = [{"tool": "ruff", "line": n, "message": f"finding {n}"} for n in range(rng.randrange(4))]
    (workspace / ".meta").mkdir(parents=True, exist_ok=True)
    (workspace / ".meta" / "report.json").write_text(json.dumps({"findings": findings, "passed": not findings}))
