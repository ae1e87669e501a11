"""Old rows go into an archive, while a root is away, a target lacks some, or a kill ends it."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fleet.http_server import serving

from . import records, rule
from .kill import run_and_kill
from .records import Records, age
from .world import World, want


def prune(world: World) -> None:
    """Prune up to the age of some row: what only journals hold is taken in first, and all that goes is archived."""
    before = world.records()
    if world.daemon is not None and world.daemon.has_another_file or not before.rows:
        return
    row = world.rng.choice(list(before.rows.values()))
    hours = _hours_since(age(row.dispatch.utc, row.committed_at)) + world.rng.choice((0, 0, 30))
    archive = world.base / f"archive-{len(world.steps)}.jsonl"
    arguments = ("prune", "--yes", "--older-than", f"{hours}h", "--archive")
    if world.chance(0.2):
        world.close()
        run_and_kill(world, (*arguments, f"{archive}.killed"), world.rng.randrange(1, 400))
    did = world.program.run(*arguments, str(archive))
    want(did.code == 0, f"prune: {did}")
    _check(before, world.records(), [archive, Path(f"{archive}.killed")])


def prune_without_a_root(world: World) -> None:
    """A root is away: that is named, and nothing goes; with --force it is given up what only its journals hold."""
    with world.watched():
        for _ in range(2):
            world.one_pass()
    before, away = world.records(), world.rng.choice(world.roots)
    away.path.rename(world.base / "away")
    archive = world.base / f"archive-{len(world.steps)}.jsonl"
    _refused_without_force(world, before, archive)
    (world.base / "away").rename(away.path)
    _check(before, world.records(), [archive])


def prune_before_a_push(world: World) -> None:
    """A target lacks rows: that is named, and nothing goes; after a push, or with --force, they go."""
    with world.watched():
        for _ in range(2):
            world.one_pass()
    before = world.records()
    archive = world.base / f"archive-{len(world.steps)}.jsonl"
    with serving() as server:
        world.configure(server.url)
        if world.chance(0.5):
            did = world.program.run("push")
            want(did.code == 0, f"push: {did}")
            world.pushed = True
            did = world.program.run("prune", "--yes", "--older-than", "1h", "--archive", str(archive))
            want(did.code == 0, f"prune after a push: {did}")
        elif not world.pushed:
            _refused_without_force(world, before, archive)
    world.configure()
    _check(before, world.records(), [archive])


def _refused_without_force(world: World, before: Records, archive: Path) -> None:
    arguments = ("prune", "--yes", "--older-than", "1h", "--archive", str(archive))
    goes = any(_hours_since(age(row.dispatch.utc, row.committed_at)) > 1 for row in before.rows.values())
    refused = world.program.run(*arguments)
    want(refused.code == (1 if goes else 0), f"prune without --force ({'some' if goes else 'none'} is old): {refused}")
    want(world.records().rows == before.rows, "a prune that was refused changed rows")
    did = world.program.run(*arguments, "--force")
    want(did.code == 0, f"prune --force: {did}")


def _check(before: Records, after: Records, archives: list[Path]) -> None:
    """What is older went, all of it into the archives, with what only journals held; and nothing else."""
    old = [identity for identity, row in after.rows.items() if after.is_old(row.dispatch, row.committed_at)]
    want(not old, f"prune left {old}")
    archived = records.archived(line for path in archives if path.exists() for line in path.read_text().splitlines())
    young = [row for row in archived.values() if not after.is_old(row.dispatch, row.committed_at)]
    want(not young, f"prune archived what is not old: {young}")
    both = replace(after, rows={**archived, **after.rows}, pruned_before=before.pruned_before)
    wrong = [*rule.wrong(before, both, {}, whole=False), *rule.lacking_rows(both)]
    want(not wrong, "prune: " + "\n    ".join(wrong))


def _hours_since(utc: str) -> int:
    moment = datetime.strptime(utc[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return max(1, int((time.time() - moment.timestamp()) // 3600))
