"""What operators do to the history and its configuration."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from . import records, rule
from .kill import run_and_kill
from .read_only import pass_over
from .records import Dispatch, Key, Records, Row, Where
from .world import NAMES, Root, World, want


def relayout(world: World) -> None:
    """The operator changes the layout of the roots."""
    world.layout = world.rng.choice(("auto", "meta", "root"))
    world.configure()


def killed(world: World) -> None:
    """A pass, or a repair, is killed at some call."""
    world.close()
    arguments = world.rng.choice((("--once",), ("--once",), ("--once", "--jobs", "2"), ("check", "--repair")))
    if arguments[0] == "check":
        with world.watched():  # which repairs only what a pass has not made
            world.one_pass()
        run_and_kill(world, arguments, world.rng.randrange(1, 400))
        return
    with world.watched():
        run_and_kill(world, arguments, world.rng.randrange(1, 160))


def restart(world: World) -> None:
    """The daemon is killed, and with it what it had not flushed."""
    world.close()


def lose_history(world: World) -> None:
    """Somebody deletes the history, under the daemon or not."""
    for path in world.program.history.parent.glob("history.db*"):
        path.unlink()


def read_only_tree(world: World) -> None:
    """The roots are mounted read-only for a pass, also when the history was lost."""
    if world.chance(0.5):
        lose_history(world)
    world.close()
    pass_over(world)


def back_up(world: World) -> None:
    """Somebody makes a backup of the history: over an older one, if that lacks nothing which the backup there has."""
    kept, history = world.base / "kept.db", world.program.history
    if not records.is_made(history) or (world.daemon is not None and world.daemon.has_another_file):
        return
    if not kept.exists() or world.chance(0.3):
        kept.unlink(missing_ok=True)
        may = True
    else:
        may = records.history_id(kept) == records.history_id(history) and not _lacks(world, records.rows(kept)[0])
    before = kept.read_bytes() if kept.exists() else b""
    did = world.program.run("backup", str(kept))
    want(did.code == (0 if may else 1), f"backup, which {'may' if may else 'may not'} write: {did}")
    if may:
        want(records.rows(kept) == records.rows(history), "the backup has other rows")
        world.kept_damaged = world.damaged
    else:
        want(kept.read_bytes() == before, "a backup that was refused wrote")


def _lacks(world: World, rows: Mapping[tuple[Where, Key], Row]) -> bool:
    """Whether the history lacks one of these rows, and has not pruned it."""
    now = world.records()
    return any(
        identity not in now.rows and not now.is_old(row.dispatch, row.committed_at) for identity, row in rows.items()
    )


def restore_history(world: World) -> None:
    """An older copy is moved into place, under the daemon or not; or restored by SQLite into the open file."""
    kept, history = world.base / "kept.db", world.program.history
    if not kept.exists():
        return
    if world.chance(0.5) and history.exists() and (world.daemon is None or not world.daemon.has_another_file):
        with contextlib.closing(sqlite3.connect(kept)) as one, contextlib.closing(sqlite3.connect(history)) as other:
            one.backup(other)
    else:
        if world.daemon is None or not world.daemon.has_history:
            for suffix in ("-wal", "-shm"):
                Path(f"{history}{suffix}").unlink(missing_ok=True)
        history.parent.mkdir(exist_ok=True)
        shutil.copy(kept, world.base / "copy.db")
        os.rename(world.base / "copy.db", history)
    world.damaged |= world.kept_damaged


def delete_rows(world: World) -> None:
    """Somebody deletes rows by SQL. A copy is then read when it changes next."""
    before = world.records()
    _by_sql(world, f"DELETE FROM dispatch_history WHERE abs(id * 7919 + {world.rng.randrange(99)}) % 3 = 0")
    after = world.records()
    for identity in before.rows.keys() - after.rows.keys():
        row = before.rows[identity]
        if rule.holders(row, before) != [row.seen_at or row.where]:
            world.late.add(row.dispatch)


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
    if world.program.history.exists() and (world.daemon is None or not world.daemon.has_another_file):
        with (
            contextlib.closing(sqlite3.connect(world.program.history)) as shell,
            contextlib.suppress(sqlite3.Error),
        ):
            shell.execute(statement)
            shell.commit()


# --- exports and imports


def export_and_import(world: World) -> None:
    """The history goes to another one by way of an export: nothing of it is lost, but what was pruned may come back."""
    before = _quiet(world)
    world.close()
    exported = world.program.run("export")
    (world.base / "export.jsonl").write_text(exported.out)
    lose_history(world)
    _import(world, world.base / "export.jsonl", before)
    world.damaged = False


def import_archive(world: World) -> None:
    """What was pruned is imported again."""
    if archives := sorted(world.base.glob("archive-*")):
        before = world.records()
        _import(world, world.rng.choice(archives), before)


def import_of_another_host(world: World) -> None:
    """Dispatches of another host, whose roots and workspaces have the same names."""
    if world.daemon is not None and world.daemon.has_another_file:
        return  # its log lies beside the copy that was moved into place
    where = world.rng.choice([(root.key, name) for root in world.roots for name in NAMES])
    document = world.document("completed")
    line = {"question": "", "issue": 0, "branch": "", "org": "", "pr_url": "", "process_id": "", "repo": "", **document}
    line |= {"workspace": where[1], "root": where[0], "host": "elsewhere", "committed_at": "2026-04-30T00:00:00Z"}
    (world.base / "other.jsonl").write_text(json.dumps({**line, "schema": 1}) + "\n")
    world.known.add(Dispatch.of(document))
    _import(world, world.base / "other.jsonl", world.records())


def _quiet(world: World) -> Records:
    """All records, after passes that left nothing to be recovered."""
    with world.watched():
        for _ in range(2):
            world.one_pass()
    return world.records()


def _import(world: World, file: Path, before: Records) -> None:
    did = world.program.run("import", str(file))
    want(did.code == 0, f"import: {did}")
    asked, after = records.archived(file.read_text().splitlines(), world.keys()), world.records()
    new = {identity: row for identity, row in asked.items() if not _is_renamed(row, before, world)}
    expected = {identity: row[:6] for identity, row in {**new, **before.rows}.items()}
    rows = {identity: row[:6] for identity, row in after.rows.items()}
    want(rows == expected, f"import: {set(rows.items()) ^ set(expected.items())}")


def _is_renamed(row: Row, before: Records, world: World) -> bool:
    """Whether the commit of a root that there is no more has a row in one that there is."""
    keys = set(world.keys().values())
    name, same = row.where[1], (row.dispatch, row.said, row.committed_at, row.host)
    return row.where[0] not in keys and any(
        other.where[0] in keys
        and other.where[1] == name
        and (other.dispatch, other.said, other.committed_at, other.host) == same
        for other in before.rows.values()
    )


# --- roots


def rename_root(world: World) -> None:
    """A root gets another name in the history and the configuration, and lies elsewhere; not that of the other root."""
    world.close()
    before = world.records()
    root = world.rng.choice(world.roots)
    other = next(one for one in world.roots if one is not root)
    if before.rows:
        refused = world.program.run("rename-root", root.key, other.key)
        want(refused.code != 0 and world.records() == before, f"rename-root made one root of two: {refused}")
    new = Root(world.base / f"root-{len(world.steps)}", world.rng.choice(("", f"name-{len(world.steps)}")))
    if any(where[0] == root.key for where, _ in before.rows):
        did = world.program.run("rename-root", root.key, new.key)
        want(did.code == 0, f"rename-root: {did}")
    old, after = root.key, world.records()
    root.path.rename(new.path)
    root.path, root.name = new.path, new.name
    world.configure()
    expected = {((new.key if key == old else key, name), identity) for (key, name), identity in before.rows}
    want(after.rows.keys() == expected, f"rename-root: {after.rows.keys() ^ expected}")
