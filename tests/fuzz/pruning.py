"""Old rows go into an archive, while a root is away, a target lacks some, the search is damaged, or a kill ends it."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from fleet.http_server import serving

from . import records, rule
from .glimpses import come_to_rest
from .kill import run_and_kill
from .records import Key, Records, Row, Where, age
from .world import World, want


def prune(world: World) -> None:
    """Prune up to the age of some row: what only journals hold is taken in first, and all that goes is archived."""
    if world.daemon is not None and world.daemon.has_another_file:
        return
    come_to_rest(world)
    before = world.records()
    if not before.rows:
        return
    row = world.rng.choice(list(before.rows.values()))
    hours = _hours_since(age(row.dispatch.utc, row.committed_at)) + world.rng.choice((0, 0, 30))
    hours = min(hours, _hours_since("0001-01-02T00:00:00"))  # there is no span to a time before the year 1
    archives = _Archives(world)
    if world.chance(0.2):
        world.close()
        run_and_kill(world, _arguments(hours, archives.new()), world.rng.randrange(1, 400))
    did = world.program.run(*_arguments(hours, archives.new()))
    want(did.code == 0, f"prune: {did}")
    _check(world, before, hours, archives)


def prune_without_a_root(world: World) -> None:
    """A root is away: that is named, and nothing goes; with --force it is given up what only its journals hold."""
    come_to_rest(world)
    with world.watched():
        for _ in range(2):
            world.one_pass()
    before, away, archives = world.records(), world.rng.choice(world.roots), _Archives(world)
    away.path.rename(world.base / "away")
    _refused_without_force(world, before, archives)
    (world.base / "away").rename(away.path)
    _check(world, before, 1, archives)


def prune_before_a_push(world: World) -> None:
    """A target lacks rows: that is named, and nothing goes; after a push, or with --force, they go."""
    come_to_rest(world)
    with world.watched():
        for _ in range(2):
            world.one_pass()
    before, archives = world.records(), _Archives(world)
    with serving() as server:
        world.configure(server.url)
        if world.chance(0.5):
            did = world.program.run("push")
            want(did.code == 0, f"push: {did}")
            world.pushed = True
            did = world.program.run(*_arguments(1, archives.new()))
            want(did.code == 0, f"prune after a push: {did}")
        elif not world.pushed:
            _refused_without_force(world, before, archives)
    world.configure()
    if archives.paths:
        _check(world, before, 1, archives)


class _Archives:
    """The archives of one prune, which may need several runs."""

    def __init__(self, world: World) -> None:
        self._roots = world.keys()
        self._first = world.base / f"archive-{len(world.steps)}.jsonl"
        self.paths: list[Path] = []

    def new(self) -> str:
        """A file that is not there."""
        self.paths.append(self._first.with_suffix(f".{len(self.paths)}"))
        return str(self.paths[-1])

    def rows(self) -> dict[tuple[Where, Key], Row]:
        """All that was archived."""
        there = [path.read_text().splitlines() for path in self.paths if path.exists()]
        return records.archived((line for lines in there for line in lines), self._roots)


def _arguments(hours: int, archive: str) -> tuple[str, ...]:
    return "prune", "--yes", "--older-than", f"{hours}h", "--archive", archive


def _refused_without_force(world: World, before: Records, archives: _Archives) -> None:
    goes = any(_is_older(row, 1) for row in before.rows.values())
    refused = world.program.run(*_arguments(1, archives.new()))
    want(refused.code == (1 if goes else 0), f"prune without --force ({'some' if goes else 'none'} is old): {refused}")
    was, now = ({row[:4] for row in there.rows.values()} for there in (before, world.records()))
    want(was == now, f"a prune that was refused changed rows: {was ^ now}")
    did = world.program.run(*_arguments(1, archives.new()), "--force")
    want(did.code == 0, f"prune --force: {did}")


def _check(world: World, before: Records, hours: int, archives: _Archives) -> None:
    """What is older went, all of it into the archives, with what only journals held; and nothing else."""
    after = world.records()
    left = [row for row in after.rows.values() if _is_older(row, hours)]
    want(not left, f"prune left {left}")
    archived = archives.rows()
    young = [row for row in archived.values() if not _is_older(row, hours - 1)]
    want(not young, f"prune archived what is not old: {young}")
    for seen in world.seen.values():  # what was recorded since it was seen, and is archived by now
        seen.difference_update(row.dispatch for row in archived.values())
    both = replace(after, rows={**archived, **after.rows}, pruned_before=before.pruned_before)
    wrong = [*rule.wrong(before, both, {}, whole=False), *rule.lacking_rows(before, both, world.late)]
    want(not wrong, "prune: " + "\n    ".join(wrong))


def _is_older(row: Row, hours: int) -> bool:
    """Whether it is older by a minute: a prune takes its time."""
    return _seconds_since(age(row.dispatch.utc, row.committed_at)) > hours * 3600 + 60


def _hours_since(utc: str) -> int:
    return max(1, int(_seconds_since(utc) // 3600))


def _seconds_since(utc: str) -> float:
    return time.time() - datetime.strptime(utc[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp()
