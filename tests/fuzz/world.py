"""One host of a seed: two roots of one history, the program, and what both hold at any moment."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentic_watch.config import FINISHED

from . import records, rule
from .program import Daemon, Program
from .records import ZERO, Dispatch, Records, Where

ORGS, REPOS, TASKS = ("a", "b"), ("x",), ("1", "2", "3")
NAMES = (*ORGS, *(f"{org}/{repo}/{task}" for org in ORGS for repo in REPOS for task in TASKS))
"""Flat ones, of which each can be an organisation as well, and nested ones."""
WORDS = ("queued", "running", "completed", "merged", "failed", "blocked")
_FILES = ("status.json", ".meta/status.json", ".meta/journal.jsonl")
_FIRST = 1_776_160_000
"""Seconds since the epoch: a day in 2026."""


class Difference(Exception):
    """The disk or the history is not what the rule says."""


def want(truth: object, said: str) -> None:
    """Raise Difference with `said` unless `truth`."""
    if not truth:
        raise Difference(said)


@dataclass
class Root:
    """A root: the history calls it by its name, else by its path."""

    path: Path
    name: str = ""

    @property
    def key(self) -> str:
        return self.name or str(self.path)


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass says it did; `failures` names what is no workspace's own fault."""

    committed: int
    recovered: int
    failures: tuple[str, ...]


@dataclass
class World:
    """`seen` are the finishes that the daemon has read and not committed yet, `told_names` the names by which journal
    and marker told them then, and `contradicted` those of whose time and run they told something else; `known` all
    dispatches that there ever were, `late` those whose rows may come back late: somebody deleted them by SQL, and a
    copy has the records; or somebody had the name that their lines bear. `pruned`: of which a line or marker told there
    that they were pruned, and whose status has stood there since.

    `damaged`: the search was, which nobody notices until a row is written. `pushed`: a target ever got anything.
    """

    base: Path
    seed: int
    layout: str = "auto"
    clock: int = 0
    steps: list[str] = field(default_factory=list)
    passes: int = 0
    seen: dict[Where, set[Dispatch]] = field(default_factory=dict)
    told_names: dict[tuple[Where, Dispatch], set[str]] = field(default_factory=dict)
    contradicted: set[tuple[Where, Dispatch]] = field(default_factory=set)
    known: set[Dispatch] = field(default_factory=set)
    late: set[Dispatch] = field(default_factory=set)
    pruned: set[tuple[Where, Dispatch]] = field(default_factory=set)
    damaged: bool = False
    kept_damaged: bool = False
    pushed: bool = False
    daemon: Daemon | None = None

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.program = Program(self.base)
        self.roots = [Root(self.base / "one", "here"), Root(self.base / "two")]
        for root in self.roots:
            root.path.mkdir(parents=True)
        self.configure()

    def configure(self, url: str = "") -> None:
        """Have the configuration say what the roots are now, and where a target is, if there is one."""
        roots = [{"path": str(root.path), "layout": self.layout, "name": root.name} for root in self.roots]
        self.program.configure([{key: value for key, value in root.items() if value} for root in roots], url)

    # --- where things are

    def root(self, key: str) -> Root:
        return next(root for root in self.roots if root.key == key)

    def keys(self) -> dict[str, str]:
        """The roots' keys by their paths."""
        return {str(root.path): root.key for root in self.roots}

    def path(self, where: Where) -> Path:
        return self.root(where[0]).path / where[1]

    def meta(self, where: Where) -> Path:
        return self.path(where) / ".meta"

    def status(self, where: Where) -> dict[str, Any] | None:
        """The status that counts."""
        return records.status_of(self.path(where), self.layout)

    def places(self) -> list[Where]:
        """Every place with a workspace, or what is left of one but for empty directories and logs."""
        return [(root.key, name) for root in self.roots for name in NAMES if is_workspace(root.path / name)]

    def free(self) -> list[Where]:
        """Where a workspace could be made: none stands there, above or below."""
        there = self.places()
        return [
            (root.key, name)
            for root in self.roots
            for name in NAMES
            if not any(key == root.key and _overlap(name, other) for key, other in there)
        ]

    def some(self) -> Where | None:
        """One of the workspaces that are there."""
        there = self.places()
        return self.rng.choice(there) if there else None

    def chance(self, of: float) -> bool:
        return self.rng.random() < of

    # --- what dispatchers write

    def now_text(self) -> str:
        """A time, in one of several spellings; now and then that of another dispatch, or Go's zero time."""
        self.clock += self.rng.choice((0, 0, 1, 60, 86_400))
        if self.chance(0.06):
            return ZERO
        fraction = self.rng.choice(("", ".5", f".{self.rng.randrange(10**9):09}"))
        zone = self.rng.choice((0, 0, 2))
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(_FIRST + self.clock + zone * 3600))
        return f"{clock}{fraction}{'+02:00' if zone else 'Z'}"

    def document(self, word: str, **fields: Any) -> dict[str, Any]:
        """A status of a dispatch that there never was before."""
        document = {
            "status": word,
            "updated_at": self.now_text(),
            "started_at": self.rng.choice((ZERO, "2026-04-14T09:00:00Z")),
            "runs": self.rng.choice((0, 0, 1)),
            "task": self.rng.choice(("round the totals", "find the walrus")),
            "agent": "codex:gpt",
            **fields,
        }
        while Dispatch.of(document) in self.known:
            document["branch"] = f"agent/{len(self.known)}-{self.rng.randrange(10**6)}"
        return document

    def write_status(self, where: Where, document: dict[str, Any], *, in_meta: bool) -> None:
        """As a dispatcher does: whole, by a rename, or in place."""
        place = self.meta(where) if in_meta else self.path(where)
        place.mkdir(parents=True, exist_ok=True)
        data = json.dumps(document)
        if self.chance(0.5):
            (place / ".status.new").write_text(data)
            os.rename(place / ".status.new", place / "status.json")
        else:
            (place / "status.json").write_text(data)
        if document["status"] in FINISHED:
            self.known.add(Dispatch.of(document))

    # --- what the program does

    def records(self) -> Records:
        """All that is there now."""
        found = {}
        for where in self.places():
            if (workspace := records.workspace(self.path(where), self.layout)) is not None:
                found[where] = workspace
        return Records(found, *records.rows(self._history_to_read(), self.keys()))

    def _history_to_read(self) -> Path:
        history = self.program.history
        if self.daemon is None or not self.daemon.has_another_file or not history.exists():
            return history
        # Beside it may lie the log of the one that the daemon has open.
        return Path(shutil.copy(history, self.base / "alone.db"))

    @contextlib.contextmanager
    def watched(self, *, whole: bool = False) -> Iterator[Records]:
        """Have the rule judge what the program does meanwhile; gives what was there before."""
        before = self.records()
        yield before
        wrong = [*rule.wrong(before, self.records(), self.seen, whole=whole)]
        want(not wrong, "\n    ".join(wrong))

    def working_daemon(self) -> Daemon:
        """The daemon, which lives from move to move."""
        self.daemon = self.daemon or Daemon(self.program)
        return self.daemon

    def close(self) -> None:
        """The daemon is killed."""
        if self.daemon is not None:
            self.daemon.close()
        self.daemon = None
        self.seen.clear()
        self.told_names.clear()
        self.contradicted.clear()

    def one_pass(self) -> Pass:
        """`--once`, in one process or several; or what the daemon does when it looks over its roots."""
        self.passes += 1
        if self.daemon is not None and (self.daemon.has_another_file or self.chance(0.5)):
            did = self.daemon.reconcile()
            failures = tuple(failure.error for failure in did.failures)
            return Pass(did.committed, did.recovered_rows, failures)
        jobs = ("--jobs", "4") if self.daemon is None and self.chance(0.1) else ()
        document = self.program.run("--once", "--json", *jobs).document()
        return Pass(document["committed"], document["recovered_rows"], tuple(x["error"] for x in document["failures"]))


def clear(path: Path) -> None:
    """Remove whatever is there, and links on the way."""
    for parent in reversed(path.parents):
        if parent.is_symlink():
            parent.unlink()
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _overlap(name: str, other: str) -> bool:
    return f"{name}/".startswith(f"{other}/") or f"{other}/".startswith(f"{name}/")


def is_workspace(path: Path) -> bool:
    """Whether a directory holds a status or a record, and no symbolic link leads to it."""
    text = str(path)
    there = os.path.isdir(text) and any(os.path.exists(f"{text}/{name}") for name in _FILES)
    return there and os.path.realpath(text) == text


@contextlib.contextmanager
def new_world(base: Path, seed: int) -> Iterator[World]:
    """A world in a directory of its own, removed at the end when all went well."""
    world = World(base.resolve() / f"seed-{seed}", seed)
    try:
        yield world
    finally:
        world.close()
    shutil.rmtree(world.base, ignore_errors=True)
