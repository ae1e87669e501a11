"""Runs that are killed, removed, moved or finished at random, boots and killed passes between: each has one newest
record, and it is right; no living process's run has one that says it failed."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass
from subprocess import Popen
from typing import Any

import pytest
from support import Host, Workspace
from unended_runs import REMOVED, Unended, ago, ended, kill, spawn, unended

RUNS = 50
NO, MAYBE, YES = 0, 1, 2
"""Whether a pass has done something: one that is killed may have."""


@dataclass(slots=True)
class Run:
    """One run, and what passes know of it: was it `read`, its process `seen` alive, had the host `booted` since it was
    read; was that known to be gone and so `recorded`, its final status `committed`, its removal `noticed`."""

    workspace: Workspace
    process: Popen[bytes]
    fields: dict[str, Any]
    is_alive: bool = True
    is_there: bool = True
    is_final: bool = False
    read: int = NO
    seen: int = NO
    booted: int = NO
    recorded: int = NO
    committed: int = NO
    noticed: int = NO

    @property
    def known(self) -> int:
        """Whether the host knows that it was here: it saw it alive, or has booted since it read it."""
        return max(self.seen, self.booted)

    def passed(self, certainty: int) -> None:
        """A pass looked at it."""
        if not self.is_there:
            self.noticed = max(self.noticed, certainty)
        elif self.is_final:
            self.committed = max(self.committed, certainty)
        else:
            if self.is_alive:
                self.seen = max(self.seen, certainty)
            elif self.known:
                self.recorded = max(self.recorded, min(certainty, self.known))
            self.read = max(self.read, certainty)

    def allowed(self) -> set[str | None]:
        """What the newest record may say: its status or question, None for none."""
        if self.committed == YES:
            return {"completed"}
        gone = ended(self.process.pid)
        answers: set[str | None] = {"completed"} if self.committed else set()
        if not self.is_there and self.recorded != YES:
            answers |= {REMOVED} if self.known else set()
            answers |= {None} if self.known != YES else set()
        if not self.is_there and self.recorded:
            answers.add(gone)
        if self.is_there:
            answers |= {gone} if self.recorded else set()
            answers |= {None} if self.recorded != YES else set()
        return answers


class Story:
    """What happens on one host."""

    def __init__(self, world: Unended, chance: random.Random) -> None:
        self.world = world
        self.chance = chance
        self.runs: list[Run] = []
        self.boots = 0
        self.moves = 0
        world.boot = "boot-0"

    def start(self) -> None:
        name = f"org/repo/{len(self.runs)}"
        fields = {"org": "org", "repo": "repo", "task": name, "runs": 1, "started_at": ago(60), "updated_at": ago(1)}
        process = spawn()
        self.world.agents.append(process)
        workspace = self.world.start(name, pid=process.pid, **fields)
        self.runs.append(Run(workspace, process, fields))

    def _one(self) -> Run | None:
        there = [run for run in self.runs if run.is_there]
        return self.chance.choice(there) if there else None

    def kill(self) -> None:
        if (run := self._one()) is not None:
            kill(run.process)
            run.is_alive = False

    def finish(self) -> None:
        if (run := self._one()) is None or run.is_final:
            return
        at = run.fields["updated_at"] if self.chance.random() < 0.3 else ago(0)
        run.workspace.write_status(**{**run.fields, "status": "completed", "updated_at": at})
        kill(run.process)
        run.is_alive, run.is_final = False, True

    def remove(self) -> None:
        if (run := self._one()) is not None:
            shutil.rmtree(run.workspace.path)
            run.is_there = False
            if self.chance.random() < 0.5:
                kill(run.process)
                run.is_alive = False

    def move(self) -> None:
        if (run := self._one()) is not None:
            self.moves += 1
            moved = Workspace(run.workspace.root, f"org/moved/{self.moves}")
            moved.path.parent.mkdir(parents=True, exist_ok=True)
            run.workspace.path.rename(moved.path)
            run.workspace = moved

    def boot(self) -> None:
        self.boots += 1
        self.world.boot = f"boot-{self.boots}"
        for run in self.runs:
            kill(run.process)
            run.is_alive = False
            if run.noticed != YES:  # a killed pass may have noticed it, and passed it over since it was not known then
                run.booted = max(run.booted, min(run.read, MAYBE) if run.noticed else run.read)

    def look(self) -> None:
        self.world.once()
        self._passed(YES)

    def look_and_be_killed(self) -> None:
        self.world.killed_pass(self.chance.uniform(0.001, 0.1))
        self._passed(MAYBE)

    def _passed(self, certainty: int) -> None:
        for run in self.runs:
            run.passed(certainty)
        self.check()

    def check(self) -> None:
        """What holds at any time."""
        found: dict[str, list[str]] = {}
        for row in self.rows("dispatch_history"):
            found.setdefault(row["task"], []).append(row["status"])
        for run in self.runs:
            statuses = found.get(run.fields["task"], [])
            assert statuses.count("failed") <= 1, run
            assert statuses.count("completed") <= 1, run
            if run.is_alive and run.is_there:
                assert statuses == [], run

    def rows(self, table: str) -> list[Any]:
        return self.world.host.query(f"SELECT * FROM {table}")

    def check_end(self) -> None:
        """What is true once there was nothing more to do."""
        newest: dict[str, str] = {}
        for row in sorted(self.rows("dispatch_history"), key=lambda row: row["updated_utc"]):
            newest[row["task"]] = row["status"] if row["status"] == "completed" else row["question"]
        for run in self.runs:
            assert newest.get(run.fields["task"]) in run.allowed(), run
            if run.is_there:
                lines = run.workspace.lines() if run.workspace.journal.exists() else []
                said = [line["question"] for line in lines if line["status"] == "failed"]
                assert len(said) <= 1
                assert run.workspace.marker.exists() == run.is_final
                assert (run.recorded == YES) <= (len(said) == 1), run
        assert self.world.once().committed == 0


def tell(host: Host, seed: int) -> None:
    chance = random.Random(seed)
    with unended(host) as world:
        story = Story(world, chance)
        moves = [story.start, story.kill, story.finish, story.remove, story.move, story.look, story.look_and_be_killed]
        weights = [30, 12, 8, 6, 6, 14, 5]
        story.look()
        while len(story.runs) < RUNS:
            chance.choices([*moves, story.boot], [*weights, 0.7])[0]()
        for _ in range(3):
            story.look()
        story.check_end()
        before = described(story)
        host.forget_history()
        story.look()
        assert described(story).items() <= before.items()


def described(story: Story) -> dict[tuple[str, int], Any]:
    """The ends that nobody wrote of workspaces that are there, but for what a new file gives anew."""
    names = {run.fields["task"] for run in story.runs if run.is_there}
    return {
        (row["task"], row["updated_utc"]): {
            name: value for name, value in dict(row).items() if name not in ("id", "moved_to")
        }
        for row in story.rows("dispatch_history")
        if row["task"] in names and row["status"] == "failed"
    }


@pytest.mark.parametrize("seed", range(4))
def test_each_run_has_one_newest_record_and_it_is_right(host: Host, seed: int) -> None:
    """Two hundred runs."""
    tell(host, seed)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(100, 120))
def test_a_thousand_runs(host: Host, seed: int) -> None:
    """The same with more of them."""
    tell(host, seed)
