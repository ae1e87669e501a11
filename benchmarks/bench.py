"""What all cases share: sizes, a place to work in, lines of the table, raw numbers."""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks import processes, trees


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. Counts of workspaces unless the name says otherwise."""

    small: int = 2_000
    medium: int = 20_000
    asked: int = 30_000
    large: int = 100_000
    few: int = 200
    renamed: int = 60_000
    clone_directories: int = 2_000
    build_files: int = 20_000
    rounds: int = 5
    rounds_medium: int = 3
    samples: int = 200
    start_rounds: int = 15
    restarts: int = 2
    idle_seconds: float = 60.0
    rest_seconds: float = 3.0
    storm_seconds: float = 60.0
    sync: bool = True
    journal_lengths: tuple[int, ...] = (1, 3, 10, 30, 100, 300, 1_000)
    journals_of_each: int = 25
    history_rows: tuple[int, ...] = (10_000, 30_000, 100_000, 300_000, 1_000_000)


FULL = Sizes()
QUICK = Sizes(
    small=200,
    medium=300,
    asked=300,
    large=400,
    few=20,
    renamed=400,
    clone_directories=20,
    build_files=500,
    rounds=1,
    rounds_medium=1,
    samples=12,
    start_rounds=2,
    restarts=1,
    idle_seconds=2.0,
    rest_seconds=0.3,
    storm_seconds=1.0,
    sync=False,
    journal_lengths=(1, 10, 100),
    journals_of_each=2,
    history_rows=(500, 2_000),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. `met` is None where there is no target; a `goal` stands in the table of goals too."""

    case: str
    ours: str
    alternatives: str
    ratio: str = ""
    target: str = ""
    met: bool | None = None
    goal: bool = False


@dataclass(slots=True)
class Bench:
    """One run: where it works, how much, and what came out. `raw` is by case, then by contestant; trees in `kept` are
    there for the next run, too. With `goals_only` a case leaves out what no goal is compared with."""

    work: str
    sizes: Sizes
    lines: list[Line] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)
    threads: int = 0
    before: str = ""
    kept: str = ""
    goals_only: bool = False

    @property
    def earlier(self) -> list[str]:
        """["before"] when an earlier checkout is measured too."""
        return ["before"] if self.before else []

    @contextlib.contextmanager
    def place(self) -> Iterator[str]:
        """A fresh directory, which stays until the whole run is over.

        ext4 passes over inodes that were deleted in the last half minute, which makes every new file dear: who
        follows a clean-up would be measured slower than who went before it.
        """
        path = os.path.join(self.work, f"place-{time.monotonic_ns()}")
        os.mkdir(path)
        yield path

    @contextlib.contextmanager
    def tree(self, count: int, state: str = "completed", clone_directories: int = 0) -> Iterator[tuple[str, str]]:
        """A fresh tree, on disk: (its root, the path of a history that is not there yet)."""
        with self.place() as place:
            trees.make(f"{place}/root", count, state, clone_directories)
            self.sync()
            yield f"{place}/root", f"{place}/state/history.db"

    def committed(self, count: int) -> tuple[str, str]:
        """A tree whose workspaces are all committed, made once: (its root, its history). It lasts as long as `kept`
        does, or as the run."""
        place = os.path.join(self.kept or self.work, f"committed-{count}")
        root, history, done = f"{place}/root", f"{place}/state/history.db", f"{place}/done"
        if not os.path.exists(done):
            trees.make(root, count)
            processes.once(root, history)
            trees.write(done, b"")
        self.sync()
        return root, history

    def sync(self) -> None:
        """Nothing is left for the disk to write when the clock starts; spared when only trying."""
        if self.sizes.sync:
            os.sync()

    def add(self, line: Line) -> None:
        """A line of the table is done."""
        self.lines.append(line)
        say(f"  {line.case}: {line.ours} | {line.alternatives} | {line.ratio}")


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, smallest and largest of some samples."""

    median: float
    low: float
    high: float

    def text(self, factor: float = 1.0, unit: str = "s", digits: int = 2) -> str:
        """The median, then smallest and largest in brackets, each times `factor`."""
        middle, low, high = (f"{value * factor:.{digits}f}" for value in (self.median, self.low, self.high))
        return f"{middle} {unit} ({low}–{high})"


def spread(samples: Sequence[float]) -> Spread:
    """The spread of at least one sample."""
    return Spread(statistics.median(samples), min(samples), max(samples))


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that `percent` of all do not exceed (nearest rank)."""
    ordered = sorted(samples)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def turned(names: Sequence[str], turn: int) -> list[str]:
    """The contestants in the order of this round: each is first once, so that none always meets a warm disk."""
    shift = turn % len(names)
    return [*names[shift:], *names[:shift]]


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)
