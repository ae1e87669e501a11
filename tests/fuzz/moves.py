"""What may happen between two passes; each move takes its chances from the world's seed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from typing import Any

from agentic_watch.config import FINISHED
from agentic_watch.workspace.jsontext import dump

from . import glimpses
from .kill import run_and_kill
from .read_only import pass_over
from .world import STATUSES, World, identity_of

_FINDINGS = [{"tool": "gosec", "code": "G304", "message": "inclusion"}, {"tool": "vet", "line": 3}]


def dispatch(world: World) -> None:
    """A dispatcher makes a workspace, in one of the two layouts."""
    if names := world.free_names():
        name = world.rng.choice(names)
        (world.root / name / "repo").mkdir(parents=True)
        rewrite(world, name)
        if world.rng.random() < 0.4:
            world.meta(name).mkdir(exist_ok=True)
            findings = _FINDINGS[: world.rng.randrange(3)]
            (world.meta(name) / "report.json").write_text(json.dumps({"passed": True, "findings": findings}))


def rewrite(world: World, name: str = "") -> None:
    """A status changes: another word, another run, in the other place, within one tick of the clock."""
    name = name or world.some()
    if not name:
        return
    before = world.status(name) or {"runs": 0}
    document = {
        "status": world.rng.choice(STATUSES),
        "updated_at": world.now_text(),
        "runs": before.get("runs", 0) + world.rng.choice((0, 0, 1)),
        "task": world.rng.choice(("round the totals", "find the walrus")),
        "agent": "codex:gpt",
    }
    # What has the identity of a finished dispatch and says something else is another story (see `remake`).
    if identity_of(document) in {identity for _, identity in world.ever}:
        document["runs"] += 100
    world.write_status(name, document, in_meta=world.rng.random() < 0.7)


def same_size(world: World) -> None:
    """A status changes in place, within a second of the last pass, and keeps its size."""
    if not (name := world.some()) or (before := world.status(name)) is None:
        return
    word = {"running": "blocked", "queued": "merged", "blocked": "running", "merged": "queued"}.get(before["status"])
    path = next((p for p in (world.meta(name), world.root / name) if (p / "status.json").exists()), None)
    if word is None or path is None:
        return
    said = before["updated_at"]
    document = {**before, "status": word, "updated_at": f"{said[:18]}{world.rng.randrange(10)}{said[19:]}"}
    if identity_of(document) not in {identity for _, identity in world.ever}:
        world.pass_now()
        with (path / "status.json").open("r+") as file:
            file.write(json.dumps(document))
            file.truncate()
        world.saw(name, document)


def touch(world: World) -> None:
    """A status is written again as it was."""
    if (name := world.some()) and (document := world.status(name)) is not None:
        world.write_status(name, document, in_meta=(world.meta(name) / "status.json").exists())


def remake(world: World) -> None:
    """A workspace is deleted and made again, also with the identity that it had, and another task."""
    if name := world.some():
        before = world.status(name)
        shutil.rmtree(world.root / name)
        if before is not None and world.rng.random() < 0.5:
            (world.root / name).mkdir(parents=True)
            world.write_status(name, {**before, "task": world.rng.choice(("other", before["task"]))}, in_meta=True)


def delete(world: World) -> None:
    """A workspace, or a whole organisation, is deleted."""
    if name := world.some():
        shutil.rmtree(world.root / (name if world.rng.random() < 0.8 else name.split("/")[0]))


def rename(world: World) -> None:
    """A workspace, repository or organisation gets another name."""
    if not (name := world.some()) or not (free := world.free_names()):
        return
    target = world.rng.choice(free)
    depth = world.rng.choice((1, 2, 3))
    old, new = (world.root / "/".join(path.split("/")[:depth]) for path in (name, target))
    if not new.exists():
        new.parent.mkdir(parents=True, exist_ok=True)
        old.rename(new)


def copy(world: World) -> None:
    """`cp -r` of a workspace."""
    if (name := world.some()) and (free := world.free_names()):
        target = world.root / world.rng.choice(free)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(world.root / name, target)


def relayout(world: World) -> None:
    """The operator changes the root's layout."""
    world.layout = world.rng.choice(("auto", "meta", "root"))


def go_writer(world: World) -> None:
    """core-agent commits a finished dispatch: its line, then its marker, in its format."""
    if not (name := world.some()) or (status := world.status(name)) is None or status["status"] not in FINISHED:
        return
    identity = identity_of(status)
    if any(line["workspace"] == name and identity_of(line) == identity for line in world.lines(name)):
        return
    world.by_others.add(identity)
    meta = world.meta(name)
    meta.mkdir(exist_ok=True)
    absent: dict[str, Any] = dict.fromkeys(("branch", "org", "pr_url", "process_id", "question", "repo"), "")
    at = {"committed_at": "2026-11-23T04:47:50Z", "workspace": name}
    line = {**absent, "issue": 0, "started_at": "0001-01-01T00:00:00Z", **status, **at}
    with (meta / "journal.jsonl").open("ab") as file:
        file.write(dump(line).encode() + b"\n")
    marker = {"workspace": name, "updated_at": status["updated_at"], "runs": status["runs"]}
    (meta / "commit.json").write_text(json.dumps({**marker, "committed_at": at["committed_at"]}))


def torn_line(world: World) -> None:
    """A power cut leaves half a line."""
    if (name := world.some()) and (path := world.meta(name) / "journal.jsonl").exists():
        with path.open("ab") as file:
            file.write(b'{"agent":"codex","branch":"agent/fi')


def spoilt_marker(world: World) -> None:
    """An agent writes nonsense into its marker, or removes it."""
    if (name := world.some()) and (path := world.meta(name) / "commit.json").exists():
        path.unlink() if world.rng.random() < 0.5 else path.write_bytes(b"\0\0")


def lost_journal(world: World) -> None:
    """An agent removes its journal."""
    if (name := world.some()) and (path := world.meta(name) / "journal.jsonl").exists():
        world.lineless |= {identity_of(line) for line in world.lines(name)}
        path.unlink()


def event(world: World) -> None:
    """The daemon hears of some workspaces; what it saw may not be flushed before the next move."""
    if names := [name for name in sorted({*world.names(), *world.glimpsed}) if world.rng.random() < 0.5]:
        glimpses.commit(world, names, flush=world.rng.random() < 0.5)


def glimpse(world: World) -> None:
    """The daemon sees finishes that are replaced, or removed, before they have come to rest, and commits them later."""
    if not (name := world.some()):
        return
    for _ in range(world.rng.choice((1, 1, 2, 3))):
        rewrite(world, name)
        world.look(name)
    fate = world.rng.random()
    if fate < 0.4:
        rewrite(world, name)
    elif fate < 0.7:
        shutil.rmtree(world.root / name)
    if world.rng.random() < 0.6:
        glimpses.commit(world, [name], flush=world.rng.random() < 0.5)


def killed(world: World) -> None:
    """A pass is killed at some call."""
    world.close()
    run_and_kill(world, world.rng.randrange(1, 120))


def restart(world: World) -> None:
    """The daemon is killed, and with it what it had not flushed."""
    world.close()


def lose_history(world: World) -> None:
    """Somebody deletes the history, under the daemon or not."""
    for path in world.history_path.parent.glob("history.db*"):
        path.unlink()
    world.must = set()


def read_only_tree(world: World) -> None:
    """The root is mounted read-only for a pass, also when the history was lost."""
    if world.rng.random() < 0.5:
        lose_history(world)
    world.close()
    pass_over(world)


def restore(world: World) -> None:
    """An older copy is moved into place, under the daemon or not; or restored by SQLite into the open file."""
    kept = world.base / "kept.db"
    if not kept.exists():
        return
    if world.rng.random() < 0.5 and world.history_path.exists() and not world.moved_under_the_daemon:
        _backup(kept, world.history_path)
    else:
        if world.history is None or world.history._current is None:
            for suffix in ("-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{world.history_path}{suffix}")
        world.history_path.parent.mkdir(exist_ok=True)
        shutil.copy(kept, world.base / "copy.db")
        os.rename(world.base / "copy.db", world.history_path)
    world.damaged |= world.kept_damaged
    world.forget_promises(kept)  # beside the moved one may lie the log of the old one


def keep_copy(world: World) -> None:
    """Somebody makes a backup."""
    if world.history_path.exists() and not world.moved_under_the_daemon:
        _backup(world.history_path, world.base / "kept.db")
        world.kept_damaged = world.damaged


def delete_rows(world: World) -> None:
    """Somebody deletes rows by SQL."""
    if not world.moved_under_the_daemon:
        _by_sql(world, f"DELETE FROM dispatch_history WHERE abs(id * 7919 + {world.rng.randrange(99)}) % 3 = 0")
        world.forget_promises()


def damage_search(world: World) -> None:
    """The search is damaged."""
    world.damaged = True
    _by_sql(
        world,
        world.rng.choice(
            (
                "UPDATE dispatch_search_data SET block = x'0102' WHERE id > 1",
                "DELETE FROM dispatch_search_data",
                "DELETE FROM dispatch_search_config",
                "DELETE FROM dispatch_search_docsize",
            )
        ),
    )


def forget_index(world: World) -> None:
    """The index of workspaces is lost."""
    _by_sql(world, "DELETE FROM workspaces")


def _by_sql(world: World, statement: str) -> None:
    if world.history_path.exists() and not world.moved_under_the_daemon:
        with contextlib.closing(sqlite3.connect(world.history_path)) as shell, contextlib.suppress(sqlite3.Error):
            shell.execute(statement)
            shell.commit()


def _backup(source: os.PathLike[str], target: os.PathLike[str]) -> None:
    with contextlib.closing(sqlite3.connect(source)) as one, contextlib.closing(sqlite3.connect(target)) as other:
        one.backup(other)


Move = Callable[[World], None]
MOVES: tuple[tuple[Move, int], ...] = (
    (dispatch, 10),
    (rewrite, 14),
    (touch, 4),
    (same_size, 3),
    (remake, 3),
    (delete, 2),
    (rename, 3),
    (copy, 2),
    (relayout, 2),
    (go_writer, 5),
    (torn_line, 2),
    (spoilt_marker, 3),
    (lost_journal, 1),
    (event, 8),
    (killed, 3),
    (restart, 2),
    (lose_history, 1),
    (restore, 2),
    (keep_copy, 2),
    (delete_rows, 3),
    (damage_search, 2),
    (forget_index, 1),
    (glimpse, 5),
    (read_only_tree, 2),
)
"""Each move and how often it comes, against the others. New ones come last, so that a kept seed can be played with the
ones that there were."""
