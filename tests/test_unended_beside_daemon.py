"""Runs that end at random while a daemon watches, is killed and started again: those that it saw have one newest
record, and it is right."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
from dataclasses import dataclass
from subprocess import Popen
from typing import Any

import pytest
from daemon_support import Service
from support import Host, Workspace
from unended_runs import REMOVED, Unended, ago, ended, kill, unended

RUNS = 40


@dataclass(slots=True)
class Run:
    """A run, whether the daemon is known to have seen it, and what its newest record may say (None: none)."""

    workspace: Workspace
    process: Popen[bytes]
    fields: dict[str, Any]
    is_seen: bool = False
    is_alive: bool = True
    is_there: bool = True
    is_final: bool = False

    def wanted(self) -> set[str | None]:
        gone = ended(self.process.pid)
        if self.is_final:
            return {"completed"}
        if self.is_there:
            answers = {None if self.is_alive else gone}
        else:
            answers = {REMOVED} | (set() if self.is_alive else {gone})
        return answers if self.is_seen else answers | {None}


class Story:
    """The runs of one host, and its daemon."""

    def __init__(self, world: Unended, service: Service, chance: random.Random) -> None:
        self.world, self.service, self.chance = world, service, chance
        self.runs: list[Run] = []
        self.moves = 0

    def start(self) -> None:
        name = f"org/repo/{len(self.runs)}"
        fields = {"org": "org", "repo": "repo", "task": name, "runs": 1, "started_at": ago(60), "updated_at": ago(1)}
        process = self.world.agent()
        run = Run(self.world.start(name, pid=process.pid, **fields), process, fields)
        self.runs.append(run)
        if self.chance.random() < 0.8:
            self.service.wait(lambda: process.pid in self.seen())
            run.is_seen = True

    def seen(self) -> set[int]:
        """The processes that the daemon saw alive."""
        try:
            return {row[0] for row in self.world.host.query("SELECT pid FROM open_runs WHERE began IS NOT NULL")}
        except sqlite3.Error:
            return set()

    def end_one(self) -> None:
        there = [run for run in self.runs if run.is_there and not run.is_final]
        if not there:
            return
        run, how = self.chance.choice(there), self.chance.choice(["kill", "finish", "remove", "move"])
        if how == "move":
            self.moves += 1
            moved = Workspace(run.workspace.root, f"org/moved/{self.moves}")
            moved.path.parent.mkdir(parents=True, exist_ok=True)
            run.workspace.path.rename(moved.path)
            run.workspace = moved
        elif how == "remove":
            shutil.rmtree(run.workspace.path)
            run.is_there = False
        else:
            kill(run.process)
            run.is_alive = False
            if how == "finish":
                run.workspace.write_status(**{**run.fields, "status": "completed", "updated_at": ago(0)})
                run.is_final = True

    def restart(self) -> None:
        if self.chance.random() < 0.5:
            self.service.signal(signal.SIGKILL)
            self.service.wait_end()
        else:
            self.service.stop()
        self.end_one()
        self.service.start()

    def newest(self) -> dict[str, str]:
        rows = self.world.host.query("SELECT task, status, question FROM dispatch_history ORDER BY updated_utc, id")
        return {row["task"]: row["status"] if row["status"] == "completed" else row["question"] for row in rows}

    def is_right(self) -> bool:
        newest = self.newest()
        return all(newest.get(run.fields["task"]) in run.wanted() for run in self.runs)

    def wrong(self) -> list[Run]:
        newest = self.newest()
        return [run for run in self.runs if newest.get(run.fields["task"]) not in run.wanted()]


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(3))
def test_what_a_daemon_saw_is_recorded_once(host: Host, seed: int) -> None:
    """Forty runs, some of them while it is down."""
    service = Service(host, patience_seconds=60)
    service.reconcile_seconds = 1
    service.configure()
    service.config_file.write_text(f"{service.config_file.read_text()}\n[ghosts]\nafter_seconds = 1\n")
    with unended(host) as world, service:
        story = Story(world, service, random.Random(seed))
        while len(story.runs) < RUNS:
            story.chance.choices([story.start, story.end_one, story.restart], [10, 10, 1])[0]()
        try:
            service.wait(story.is_right, 60)
        finally:
            print(story.wrong())
        counted = host.query("SELECT task, status, count(*) AS count FROM dispatch_history GROUP BY task, status")
        assert [row["task"] for row in counted if row["count"] > 1] == []
        for run in story.runs:
            if run.is_there and not run.is_final:
                assert not run.workspace.marker.exists()
