"""Many at work on one tree, with one history and with two, killed at random: nothing lost, nothing twice."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from . import tree as trees
from .tree import DEADLINE_SECONDS, PROGRAM, Tree, write_status

WORKSPACES = tuple(f"org/repo/w{number}" for number in range(12))
ROUNDS = 300
SOME_ROUNDS = 2
ROUNDS_BETWEEN_LOOKS = 20
LONGEST_LIFE_SECONDS = 0.6
DAEMON_DIES = 0.25


@dataclass(slots=True)
class Company:
    """Two hosts' worth of programs on one root. `runs` is what the dispatcher has set each workspace to."""

    ours: Tree
    others: Tree
    chance: random.Random
    runs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WORKSPACES, 0))
    daemons: dict[Path, subprocess.Popen[bytes]] = field(default_factory=dict)

    def dispatch(self) -> None:
        """Finish another run in some workspaces, never in one whose last run is not committed yet."""
        for name in self.chance.sample(WORKSPACES, 6):
            marked = trees.marker(self.ours, name)
            if (marked["runs"] if marked else 0) == self.runs[name]:
                self.runs[name] += 1
                write_status(self.ours.meta(name), self.runs[name])

    def commands(self) -> list[list[str]]:
        """Who works beside the daemons in a round."""
        named = ["commit", *self.chance.sample([name for name in WORKSPACES if self.runs[name]], 3)]
        return [
            self.ours.arguments("--once"),
            self.ours.arguments("--once"),
            self.ours.arguments(*named),
            self.others.arguments("--once"),
        ]

    def round(self, failures: list[str]) -> None:
        """Dispatch, let all work at once, kill about half of them, the daemons now and then."""
        self.dispatch()
        working = [start(command) for command in self.commands()]
        for process in self.chance.sample(working, self.chance.randint(0, len(working))):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.chance.uniform(0, LONGEST_LIFE_SECONDS))
            process.kill()
        for process in working:
            _, said = process.communicate(timeout=DEADLINE_SECONDS)
            held = process.returncode == 1 and b"by another process" in said
            if process.returncode not in (0, -signal.SIGKILL) and not held:
                failures.append(f"ended with {process.returncode}: {said.decode()}")
        self.restart_daemons()

    def restart_daemons(self) -> None:
        """Kill each daemon one time in four, and start it anew; it must not have ended by itself."""
        for tree in (self.ours, self.others):
            daemon = self.daemons.get(tree.history)
            if daemon is not None:
                assert daemon.poll() is None, daemon.communicate()
                if self.chance.random() > DAEMON_DIES:
                    continue
                end(daemon)
            self.daemons[tree.history] = start(tree.arguments("-qq"))


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start the program."""
    return subprocess.Popen(
        [*PROGRAM, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=trees.environment()
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and collect it."""
    process.kill()
    process.communicate(timeout=DEADLINE_SECONDS)


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    """A root with workspaces, and two histories of it."""
    root = tmp_path / "root"
    made = Company(
        Tree(root, tmp_path / "ours" / "state" / "history.db"),
        Tree(root, tmp_path / "others" / "state" / "history.db"),
        random.Random(20260414),
    )
    for tree in (made.ours, made.others):
        tree.history.parent.mkdir(parents=True)
    for name in WORKSPACES:
        made.ours.meta(name).mkdir(parents=True)
    yield made
    for daemon in made.daemons.values():
        end(daemon)


def look(company: Company) -> list[str]:
    """Let each history's program finish what is left, then find what was lost or done twice."""
    found = []
    for tree in (company.ours, company.others):
        done = tree.run("--once")
        if done.returncode:
            found.append(f"the last run ended with {done.returncode}: {done.stderr}")
    wanted = {name: list(range(1, runs + 1)) for name, runs in company.runs.items()}
    for name, runs in wanted.items():
        written = [line["runs"] for line in trees.lines(company.ours, name)]
        if written != runs:
            found.append(f"{name}: journal has {written}, not {runs}")
        if strays := {path.name for path in company.ours.meta(name).iterdir()} - EXPECTED_FILES:
            found.append(f"{name}: left behind {strays}")
    commits = {
        (name, line["runs"]): line["committed_at"] for name in wanted for line in trees.lines(company.ours, name)
    }
    for tree in (company.ours, company.others):
        differing = dict(trees.rows(tree).items() ^ commits.items())
        found += [f"{tree.history}: line and row differ for {key}" for key in differing]
    return found


EXPECTED_FILES = {"status.json", "journal.jsonl", "commit.json"}


def play(company: Company, rounds: int) -> None:
    """Play so many rounds, and look every now and then."""
    failures: list[str] = []
    for number in range(1, rounds + 1):
        company.round(failures)
        if number % ROUNDS_BETWEEN_LOOKS == 0 or number == rounds:
            failures += [f"round {number}: {problem}" for problem in look(company)]
        assert failures == []
    assert sum(company.runs.values()) >= rounds


def test_some_company(company: Company) -> None:
    """A few rounds of daemons, `--once` and `commit` at the same time, some of them killed."""
    play(company, SOME_ROUNDS)


@pytest.mark.faults
def test_company(company: Company) -> None:
    """Hundreds of rounds of daemons, `--once` and `commit` at the same time, about half of them killed."""
    started = time.monotonic()
    play(company, ROUNDS)
    print(f"{ROUNDS} rounds, {sum(company.runs.values())} commits, {time.monotonic() - started:.0f} s")
