"""One host of a seed: a few workspaces, a history, and what the moves so far promise about them."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from agentic_watch.backfill import SharePass, Summary
from agentic_watch.commit import Committer, Outcome
from agentic_watch.config import FINISHED, Config, Root
from agentic_watch.history.ownership import inode_of
from agentic_watch.history.store import History
from agentic_watch.inventory.last_seen import LastSeen
from agentic_watch.workspace import instant
from agentic_watch.workspace.layout import Candidate

Layout = Literal["auto", "meta", "root"]
Identity = tuple[str, int]
"""(`updated_utc`, `runs`)."""
ORGS, REPOS, TASKS = ("a", "b"), ("x", "y"), ("1", "2", "3")
ROOT = "here"
STATUSES = ("queued", "running", "completed", "merged", "failed", "blocked")
_FIRST = 1_776_160_000
"""Seconds since the epoch: a day in 2026."""


def identity_of(document: dict[str, Any]) -> Identity:
    """The identity that a status, a line or a marker has."""
    return instant.parse(document["updated_at"]).utc(), document.get("runs", 0)


@dataclass
class World:
    """`ever` are all finished identities that a status has had, `must` the rows that no pass may lose, `by_others` what
    core-agent committed. `damaged`: the search was, which nobody notices until a row is written.
    `glimpsed`: by workspace, the finished statuses that the daemon has seen and not committed yet."""

    base: Path
    seed: int
    rng: random.Random = field(init=False)
    layout: Layout = "auto"
    clock: int = 0
    steps: list[str] = field(default_factory=list)
    passes: int = 0
    ever: set[tuple[str, Identity]] = field(default_factory=set)
    must: set[tuple[str, Identity]] = field(default_factory=set)
    damaged: bool = False
    kept_damaged: bool = False
    lineless: set[Identity] = field(default_factory=set)
    by_others: set[Identity] = field(default_factory=set)
    history: History | None = None
    last_seen: LastSeen | None = None
    committer: Committer | None = None
    glimpsed: dict[str, dict[Identity, dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.root.mkdir(parents=True)

    # --- where things are

    @property
    def root(self) -> Path:
        return self.base / "root"

    @property
    def history_path(self) -> Path:
        return self.base / "state" / "history.db"

    def config(self) -> Config:
        return Config(roots=(Root(str(self.root), name=ROOT, layout=self.layout),), history=str(self.history_path))

    def names(self) -> list[str]:
        """The workspaces that are there."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.glob("*/*/*"))

    def free_names(self) -> list[str]:
        there = set(self.names())
        return [name for o in ORGS for r in REPOS for t in TASKS if (name := f"{o}/{r}/{t}") not in there]

    def some(self) -> str:
        """One of the workspaces that are there, "" when none is."""
        names = self.names()
        return self.rng.choice(names) if names else ""

    def meta(self, name: str) -> Path:
        return self.root / name / ".meta"

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The whole lines of a journal that are records; what was appended to half a line is none."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for line in (self.meta(name) / "journal.jsonl").read_bytes().split(b"\n"):
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return found

    def mark(self, name: str) -> dict[str, Any] | None:
        with contextlib.suppress(FileNotFoundError):
            document: dict[str, Any] = json.loads((self.meta(name) / "commit.json").read_bytes())
            return document
        return None

    def status(self, name: str) -> dict[str, Any] | None:
        """The status that counts in this layout: the newer one, `.meta/` in a tie."""
        places = {"meta": (self.meta(name),), "root": (self.root / name,)}.get(
            self.layout, (self.meta(name), self.root / name)
        )
        found = []
        for place in places:
            with contextlib.suppress(FileNotFoundError):
                found.append(json.loads((place / "status.json").read_bytes()))
        return max(found, key=lambda document: instant.parse(document["updated_at"]).ns) if found else None

    def rows(self, of: Path | None = None) -> dict[tuple[str, Identity], dict[str, Any]]:
        """All rows, as another program reads them; of a copy, when one is given."""
        path = of or self.history_path
        if not path.exists():
            return {}
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            if not connection.execute("PRAGMA user_version").fetchone()[0]:
                return {}  # its making was ended by a kill
            found = connection.execute("SELECT * FROM dispatch_history").fetchall()
        return {(r["workspace"], (r["updated_utc"], r["runs"])): dict(r) for r in found}

    @property
    def moved_under_the_daemon(self) -> bool:
        """Whether another file stands there than the one that the daemon has open, beside that one's log."""
        current = self.history._current if self.history is not None else None
        return current is not None and current.inode != inode_of(str(self.history_path))

    # --- what dispatchers do

    def now_text(self) -> str:
        """A time of its own, in one of several spellings."""
        self.clock += self.rng.choice((0, 0, 1, 60))
        fraction = self.rng.choice(("", ".5", f".{self.rng.randrange(10**9):09}"))
        zone = self.rng.choice((0, 0, 2))
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(_FIRST + self.clock + zone * 3600))
        return f"{clock}{fraction}{'+02:00' if zone else 'Z'}"

    def write_status(self, name: str, document: dict[str, Any], *, in_meta: bool) -> None:
        """As a dispatcher does: whole, by a rename, or in place."""
        place = self.meta(name) if in_meta else self.root / name
        place.mkdir(parents=True, exist_ok=True)
        data = json.dumps(document)
        if self.rng.random() < 0.5:
            (place / ".status.new").write_text(data)
            os.rename(place / ".status.new", place / "status.json")
        else:
            (place / "status.json").write_text(data)
        self.saw(name, document)

    def saw(self, name: str, document: dict[str, Any]) -> None:
        """Take down an identity that a status has now."""
        if document["status"] in FINISHED:
            self.ever.add((name, identity_of(document)))

    # --- what the program does

    def close(self) -> None:
        """The daemon ends; what it had yet to flush is gone, as after a kill."""
        if self.committer is not None:
            self.committer.close()
        if self.history is not None:
            self.history.close()
        self.history = self.last_seen = self.committer = None
        self.glimpsed.clear()

    def opened(self) -> tuple[Committer, LastSeen]:
        """The daemon, which lives from move to move, under the configuration as it is now."""
        if self.history is None or self.last_seen is None or self.committer is None:
            self.history = History(str(self.history_path))
            self.last_seen = LastSeen(self.history)
            self.committer = Committer(self.config(), self.history)
        self.committer.config = self.config()
        return self.committer, self.last_seen

    def one_pass(self) -> Summary:
        """`--once`: a history of its own, or the one that the daemon has open."""
        if self.history is not None:
            return SharePass(self.config(), self.history, lambda _: None, lambda _: None).run()
        with contextlib.closing(History(str(self.history_path))) as history:
            return SharePass(self.config(), history, lambda _: None, lambda _: None).run()

    def pass_now(self) -> None:
        """A pass in the middle of a move."""
        self.one_pass()
        self.passes += 1

    def look(self, name: str) -> None:
        """The daemon sees a workspace that is to be committed when it has come to rest."""
        committer, _ = self.opened()
        committer.look_ahead(Candidate(committer.config.roots[0], name))
        status = self.status(name)
        if status is not None and status["status"] in FINISHED:
            self.glimpsed.setdefault(name, {})[identity_of(status)] = status

    def events(self, names: list[str], *, flush: bool) -> list[Outcome]:
        """What the daemon does when it hears of these, and what became of them."""
        committer, last_seen = self.opened()
        outcomes = []
        for outcome in committer.commit_each(Candidate(committer.config.roots[0], name) for name in names):
            last_seen.note(outcome, time.time())
            outcomes.append(outcome)
        if flush:
            last_seen.flush()
        return outcomes

    def forget_promises(self, of: Path | None = None) -> None:
        """The history is another now: what it holds, and what lies in journals, is all that can be asked for."""
        self.must = set(self.rows(of))


@contextlib.contextmanager
def new_world(base: Path, seed: int) -> Iterator[World]:
    """A world in a directory of its own, removed at the end when all went well."""
    world = World(base / f"seed-{seed}", seed)
    try:
        yield world
    finally:
        world.close()
    shutil.rmtree(world.base, ignore_errors=True)
