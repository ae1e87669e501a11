"""What dispatchers, agents and core-agent write."""

from __future__ import annotations

import json
import shutil
from typing import Any

from agentic_watch.config import FINISHED
from agentic_watch.workspace.jsontext import dump

from . import passes, records
from .records import Dispatch, Where
from .world import WORDS, World, clear

_FINDINGS = [{"tool": "gosec", "code": "G304", "message": "inclusion"}, {"tool": "vet", "line": 3}]


def dispatch(world: World) -> None:
    """A dispatcher makes a workspace, in one of the two layouts, also where another one was."""
    if free := world.free():
        dispatch_at(world, world.rng.choice(free))


def dispatch_at(world: World, where: Where) -> None:
    """A dispatcher makes a workspace there; empty directories and logs of another one may be left."""
    path = world.path(where)
    if path.resolve() != path:  # a symbolic link is not followed
        clear(world.root(where[0]).path / where[1].split("/")[0])
    (path / "repo").mkdir(parents=True, exist_ok=True)
    rewrite(world, where)
    if world.chance(0.4):
        world.meta(where).mkdir(exist_ok=True)
        findings = _FINDINGS[: world.rng.randrange(3)]
        (world.meta(where) / "report.json").write_text(json.dumps({"passed": True, "findings": findings}))


def rewrite(world: World, where: Where | None = None) -> None:
    """A status changes: another word, another run, in the other place, within one tick of the clock."""
    if (where := where or world.some()) is None:
        return
    before = world.status(where)
    fields = {} if before is None or world.chance(0.3) else {"runs": before["runs"] + 1, "task": before["task"]}
    document = world.document(world.rng.choice(WORDS), **fields)
    if before is not None and before["status"] in FINISHED and world.chance(0.2):  # "completed", and then "merged"
        document = {**before, "status": "merged", "updated_at": document["updated_at"]}
    if Dispatch.of(document) not in world.known:
        world.write_status(where, document, in_meta=world.chance(0.7))


def reword(world: World) -> None:
    """A finished status says something else of the same dispatch, and keeps its time and run."""
    if (where := world.some()) is not None and (before := world.status(where)) is not None:
        word = world.rng.choice(WORDS)
        in_meta = (world.meta(where) / "status.json").exists()
        world.write_status(where, {**before, "status": word, "question": "which one?"}, in_meta=in_meta)


def same_size(world: World) -> None:
    """A status changes in place, within a second of the last pass, and keeps its size."""
    if (where := world.some()) is None or (before := world.status(where)) is None:
        return
    word = {"running": "blocked", "queued": "merged", "blocked": "running", "merged": "queued"}.get(before["status"])
    path = next((p for p in (world.meta(where), world.path(where)) if (p / "status.json").exists()), None)
    if word is None or path is None:
        return
    said = before["updated_at"]
    document = {**before, "status": word, "updated_at": f"{said[:18]}{world.rng.randrange(10)}{said[19:]}"}
    if Dispatch.of(document) not in world.known:
        passes.one(world)
        with (path / "status.json").open("r+") as file:
            file.write(json.dumps(document))
            file.truncate()
        if word in FINISHED:
            world.known.add(Dispatch.of(document))


def touch(world: World) -> None:
    """A status is written again as it was."""
    if (where := world.some()) is not None and (document := world.status(where)) is not None:
        world.write_status(where, document, in_meta=(world.meta(where) / "status.json").exists())


def remake(world: World) -> None:
    """A workspace is deleted and made again, also with the identity that it had, and another task."""
    if (where := world.some()) is not None:
        before = world.status(where)
        shutil.rmtree(world.path(where))
        if before is not None and world.chance(0.5):
            world.path(where).mkdir(parents=True)
            world.write_status(where, {**before, "task": world.rng.choice(("other", before["task"]))}, in_meta=True)


def template(world: World) -> None:
    """A copy of a workspace runs, and its end has the time and the run of the original's: one thing else differs."""
    if (where := world.some()) is None or not (free := world.free()) or (before := world.status(where)) is None:
        return
    target = world.rng.choice(free)
    clear(world.path(target))
    shutil.copytree(world.path(where), world.path(target), symlinks=True)
    changed = world.rng.choice(("org", "repo", "task", "agent", "branch", "started_at"))
    value = "2026-04-13T09:00:00Z" if changed == "started_at" else f"other {world.rng.randrange(10**6)}"
    world.write_status(target, {**before, changed: value}, in_meta=world.chance(0.7))


def go_writer(world: World) -> None:
    """core-agent commits a finished dispatch: its line, then its marker, in its format."""
    if (where := world.some()) is None or (status := world.status(where)) is None or status["status"] not in FINISHED:
        return
    meta, name = world.meta(where), where[1]
    there = records.workspace(world.path(where), world.layout)
    if there is None or name in there.names(Dispatch.of(status)):
        return
    meta.mkdir(exist_ok=True)
    absent: dict[str, Any] = dict.fromkeys(("branch", "org", "pr_url", "process_id", "question", "repo"), "")
    at = {"committed_at": "2026-04-30T04:47:50Z", "workspace": name}
    line = {**absent, "issue": 0, "started_at": "0001-01-01T00:00:00Z", **status, **at}
    with (meta / "journal.jsonl").open("ab") as file:
        file.write(dump(line).encode() + b"\n")
    marker = {"workspace": name, "updated_at": status["updated_at"], "runs": status["runs"]}
    (meta / "commit.json").write_text(json.dumps({**marker, "committed_at": at["committed_at"]}))


def torn_line(world: World) -> None:
    """A power cut leaves half a line."""
    if (where := world.some()) is not None and (path := world.meta(where) / "journal.jsonl").exists():
        with path.open("ab") as file:
            file.write(b'{"agent":"codex","branch":"agent/fi')


def spoilt_marker(world: World) -> None:
    """An agent writes nonsense into its marker, or removes it."""
    if (where := world.some()) is not None and (path := world.meta(where) / "commit.json").exists():
        path.unlink() if world.chance(0.5) else path.write_bytes(b"\0\0")


def lost_journal(world: World) -> None:
    """An agent removes its journal, or somebody rotates it away."""
    if (where := world.some()) is not None and (path := world.meta(where) / "journal.jsonl").exists():
        before = world.records()
        path.rename(path.with_suffix(".1")) if world.chance(0.5) else path.unlink()
        dispatch = before.at(where).dispatch
        if dispatch is None or not before.is_recorded(where, dispatch):
            return
        if not world.records().is_recorded(where, dispatch):
            world.late.add(dispatch)  # only this line told of its row, and nobody reads a copy that did not change
