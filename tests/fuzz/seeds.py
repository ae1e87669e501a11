"""One seed after the other, until there were enough passes; and the seeds that once failed."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from agentic_watch.backfill import Summary
from agentic_watch.workspace import undo

from .checks import Difference, check, want
from .coarse import whole_seconds
from .moves import MOVES, Move
from .world import World, new_world

STEPS = 60
_MOVES_BETWEEN = (1, 1, 2, 3, 5)

KEPT = {
    74: 22,  # a kill while the history was being made left one that no start could open
    288: 22,  # a daemon that ended after its history was replaced left its log to the new one
    1147: 22,  # a moved workspace without its marker, its old place taken, was recorded again
    700005: 22,  # a restored copy with findings still to be made anew kept lacking them
}
"""Seeds that failed once, each with how many of the MOVES there were, and what it found."""


def play(base: Path, seed: int, steps: int = STEPS) -> int:
    """Play one seed; gives the passes that were compared. Raises Difference with the moves that led to it."""
    moves = MOVES[: KEPT.get(seed)]
    with new_world(base, seed) as world, _at_rest(), whole_seconds() if seed % 4 == 0 else contextlib.nullcontext():
        try:
            while len(world.steps) < steps:
                for _ in range(world.rng.choice(_MOVES_BETWEEN)):
                    _move(world, moves)
                _compare(world)
        except Exception as error:
            moves = "\n  ".join(world.steps[-40:])
            raise Difference(f"seed {seed}, step {len(world.steps)}: {error!r}\n  {moves}") from error
        return world.passes


def play_on(base: Path, first: int, passes: int) -> Iterator[tuple[int, int]]:
    """Play seeds from `first` on until there were so many passes; yields each with the passes so far."""
    done = 0
    for seed in itertools.count(first):
        done += play(base, seed)
        yield seed, done
        if done >= passes:
            return


def _move(world: World, moves: Sequence[tuple[Move, int]]) -> None:
    move = world.rng.choices([move for move, _ in moves], [weight for _, weight in moves])[0]
    world.steps.append(move.__name__)
    move(world)


def _compare(world: World) -> None:
    """A pass, and what must hold after it; and now and then a second one, which has nothing to do."""
    world.steps.append("pass")
    _until_quiet(world)
    check(world)
    if world.rng.random() < 0.3:
        before = _records(world)
        again = world.one_pass()
        world.passes += 1
        world.steps.append("second pass")
        did = again.committed, again.recovered_rows, again.failed
        want(did == (0, 0, 0), f"a second pass committed, recovered, failed: {did}")
        want(_records(world) == before, "a second pass changed a record")


def _until_quiet(world: World) -> None:
    """A pass; and a second when the first one found out that the history was damaged or is another."""
    for _ in range(3):
        summary: Summary = world.one_pass()
        world.passes += 1
        if not summary.failed:
            return
    raise Difference(f"three passes failed: {[failure.error for failure in summary.failures]}")


def _records(world: World) -> dict[str, bytes]:
    found = {}
    for name in world.names():
        for record in ("journal.jsonl", "commit.json"):
            with contextlib.suppress(FileNotFoundError):
                found[f"{name}/{record}"] = (world.meta(name) / record).read_bytes()
    return found


@contextlib.contextmanager
def _at_rest() -> Iterator[None]:
    """A torn line counts as old at once; and nothing is logged."""
    before = undo.REST_SECONDS
    undo.REST_SECONDS = 0.0
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        undo.REST_SECONDS = before
        logging.disable(logging.NOTSET)
