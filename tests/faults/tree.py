"""The tree that is tried, the program run on it, and the look at what came out."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = (sys.executable, "-m", "agentic_watch")
INLINE = (sys.executable, str(Path(__file__).with_name("inline.py")))
DEADLINE_SECONDS = 60

NEW, AGAIN, TORN = NAMES = ("org/repo/new", "org/repo/again", "org/repo/torn")
TORN_TAIL = b'{"agent":"codex","branch":"agent/fix-te'
OWNERS = {NEW: 12345, AGAIN: 12345, TORN: 0}
"""Whose files they are when the tests run as root."""

_REPORT = {"passed": False, "findings": [{"tool": "ruff", "line": n, "message": f"mistake {n}"} for n in (1, 2)]}
_NOISE = ("PYTHON", "CORE_", "AGENTIC_", "XDG_", "STATE_")


@dataclass(frozen=True, slots=True)
class Tree:
    """A root, and the history that one program keeps of it."""

    root: Path
    history: Path

    def meta(self, name: str) -> Path:
        """The `.meta` directory of a workspace."""
        return self.root / name / ".meta"

    def arguments(self, *more: str) -> list[str]:
        """The program's arguments for this root and history."""
        return ["--config", str(self._configuration()), *more]

    def _configuration(self) -> Path:
        # A named root keeps its rows when the tree is copied to another place.
        path = self.history.parent.with_name("config.toml")
        if not path.exists():
            path.write_text(
                f'[[roots]]\npath = "{self.root}"\nname = "here"\n[history]\npath = "{self.history}"\n'
                "[commit]\nsettle_seconds = 0\n[reconcile]\ninterval_seconds = 1\n"
            )
        return path

    def run(self, *more: str, program: Sequence[str] = PROGRAM) -> subprocess.CompletedProcess[str]:
        """Run the program to its end."""
        return run([*program, *self.arguments(*more)])


def environment() -> dict[str, str]:
    """An environment without anybody's settings, in which the interpreter writes nothing of its own."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_NOISE)}
    return kept | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command with the bare environment; one that hangs fails the test."""
    return subprocess.run(
        command, capture_output=True, text=True, env=environment(), check=False, timeout=DEADLINE_SECONDS
    )


def write_status(directory: Path, runs: int, *, status: str = "completed") -> None:
    """Write a status as a dispatcher does: a temporary file, renamed. Each `runs` is a commit of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    document = {
        "status": status,
        "agent": "codex:gpt",
        "org": "org",
        "repo": "repo",
        "task": "Mend the tests",
        "branch": "agent/mend",
        "runs": runs,
        "started_at": "2026-04-14T10:00:00Z",
        "updated_at": f"2026-04-14T11:17:08.{runs:09d}+02:00",
    }
    temporary = directory / ".status.new"
    temporary.write_text(json.dumps(document))
    temporary.rename(directory / "status.json")


def make(base: Path) -> Tree:
    """Three workspaces with work to do: new; run again over an older marker; torn journal tail.

    The new one has no `.meta` yet, and its files belong to somebody else than us when we are root.
    """
    tree = Tree(base / "root", base / "state" / "history.db")
    for name in (AGAIN, TORN):
        write_status(tree.meta(name), 1)
    (tree.meta(AGAIN) / "report.json").write_text(json.dumps(_REPORT))
    first = tree.run("--once")
    assert first.returncode == 0, first.stderr
    for name in (AGAIN, TORN):
        write_status(tree.meta(name), 2)
    with (tree.meta(TORN) / "journal.jsonl").open("ab") as journal:
        journal.write(TORN_TAIL)
    write_status(tree.root / NEW, 1)
    if os.geteuid() == 0:
        for name, owner in OWNERS.items():
            subprocess.run(["chown", "-R", str(owner), str(tree.root / name)], check=True)
    return tree


def copy(tree: Tree, base: Path, *, history: bool) -> Tree:
    """A copy to be spoilt, owners included; without `history` only the journals know what was."""
    base.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", str(tree.root), str(base / "root")], check=True)
    made = Tree(base / "root", base / "state" / "history.db")
    if history:
        made.history.parent.mkdir()
        shutil.copy2(tree.history, made.history)
    return made


EXPECTED = {NEW: (1,), AGAIN: (1, 2), TORN: (1, 2)}
"""Workspace → the `runs` of its commits, oldest first."""


def lines(tree: Tree, name: str) -> list[dict[str, Any]]:
    """A journal's whole lines; a torn end is left out."""
    try:
        whole = (tree.meta(name) / "journal.jsonl").read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in whole]


def marker(tree: Tree, name: str) -> dict[str, Any] | None:
    """The marker, which must be whole whenever it is there."""
    try:
        found: dict[str, Any] = json.loads((tree.meta(name) / "commit.json").read_bytes())
    except FileNotFoundError:
        return None
    return found


def rows(tree: Tree) -> dict[tuple[str, int], str]:
    """The history's rows, (workspace, runs) → committed_at, read from a copy so that looking changes nothing."""
    with tempfile.TemporaryDirectory() as scratch:
        for path in tree.history.parent.glob("history.db*"):
            if path.name in ("history.db", "history.db-wal"):
                shutil.copy(path, scratch)
        with contextlib.closing(sqlite3.connect(Path(scratch) / "history.db")) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'dispatch_history'").fetchone():
                return {}
            sql = "SELECT workspace, runs, committed_at FROM dispatch_history"
            return {(workspace, runs): at for workspace, runs, at in connection.execute(sql)}


def order_problems(tree: Tree) -> list[str]:
    """What a stop must never leave: a marker whose row or line is not there, or a row without its line."""
    problems = []
    kept = rows(tree)
    for name, (*_, newest) in EXPECTED.items():
        written = {line["runs"] for line in lines(tree, name)}
        marked = marker(tree, name)
        if marked and marked["runs"] == newest and not (newest in written and (name, newest) in kept):
            problems.append(f"{name}: the marker vouches for run {newest} before line and row are there")
        if ahead := {runs for workspace, runs in kept if workspace == name} - written:
            problems.append(f"{name}: rows {sorted(ahead)} without a line")
    return problems


def problems(tree: Tree, *, index: bool = True) -> list[str]:
    """All that is not as it must be once everything is committed: empty when each commit is there exactly once.

    `index`: look at the table `workspaces` too, which only `--once` fills, and may fill a run later.
    """
    try:
        return _all_problems(tree, index)
    except sqlite3.DatabaseError as error:
        return [f"history: {error}"]


def _all_problems(tree: Tree, index: bool) -> list[str]:
    found = order_problems(tree) + workspace_problems(tree)
    kept = rows(tree)
    wanted = sorted((name, number) for name, runs in EXPECTED.items() for number in runs)
    if sorted(kept) != wanted:
        found.append(f"rows are {sorted(kept)}")
    for name in EXPECTED:
        if any(kept.get((name, line["runs"])) != line["committed_at"] for line in lines(tree, name)):
            found.append(f"{name}: journal and history differ in committed_at")
    return found + _history_problems(tree, index)


def workspace_problems(tree: Tree) -> list[str]:
    """What is not as it must be in the workspaces once everything is committed."""
    asides = [path.read_bytes() for path in tree.meta(TORN).glob("journal.jsonl.corrupt-*")]
    found = [] if TORN_TAIL in asides else [f"{TORN}: the torn tail was not kept, but {asides}"]
    for name, runs in EXPECTED.items():
        try:
            found += _one_workspace(tree, name, list(runs))
        except FileNotFoundError as error:
            found.append(f"{name}: {error}")
    return found


def _one_workspace(tree: Tree, name: str, runs: list[int]) -> list[str]:
    found = []
    meta = tree.meta(name)
    if not (meta / "journal.jsonl").read_bytes().endswith(b"\n"):
        found.append(f"{name}: the journal does not end with a whole line")
    written = lines(tree, name)
    if [line["runs"] for line in written] != runs:
        found.append(f"{name}: journal has runs {[line['runs'] for line in written]}, not {runs}")
    marked = marker(tree, name)
    if marked is None or (marked["runs"], marked["committed_at"]) != (runs[-1], written[-1]["committed_at"]):
        found.append(f"{name}: marker is {marked}")
    known = {"status.json", "report.json", "journal.jsonl", "commit.json"}
    strange = {path.name for path in meta.iterdir()} - known
    if strays := [stray for stray in strange if not stray.startswith("journal.jsonl.corrupt-")]:
        found.append(f"{name}: left behind {strays}")
    owners = {path.stat().st_uid for path in (meta, meta / "journal.jsonl", meta / "commit.json")}
    if owners != {OWNERS[name] if os.geteuid() == 0 else os.geteuid()}:
        found.append(f"{name}: files belong to {owners}")
    return found


# The newest dispatches are not in the index yet; answers read these themselves.
_FOUND = (
    "SELECT (SELECT count(*) FROM dispatch_search WHERE dispatch_search MATCH '{0}') + count(*) "
    "FROM dispatch_history, upkeep WHERE id > searched_to AND task || ifnull(report, '') LIKE '%{0}%'"
)


def _history_problems(tree: Tree, index: bool) -> list[str]:
    with contextlib.closing(sqlite3.connect(f"file:{tree.history}?mode=ro", uri=True)) as connection:
        found = [text for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
        if found:
            return found
        counts = [
            ("SELECT count(*) FROM findings", 4),
            (_FOUND.format("mistake"), 2),
            (_FOUND.format("mend"), 5),
            ("SELECT count(*) FROM workspaces WHERE committed AND NOT fail_count", 3),
        ]
        for sql, wanted in counts if index else counts[:-1]:
            if (got := connection.execute(sql).fetchone()[0]) != wanted:
                found.append(f"{sql} gives {got}, not {wanted}")
    return found
