"""One seed after the other, until there were enough passes; and the seeds that once failed."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from agentic_watch.answers.check import check_and_repair
from agentic_watch.config import paths
from agentic_watch.workspace import undo

from . import passes
from .coarse import whole_seconds
from .moves import MOVES, ORDINARY, Move
from .world import Difference, World, new_world

STEPS = 60
_MOVES_BETWEEN = (1, 1, 2, 3, 5)

KEPT = {
    3: 41,  # moved to the other root by rsync, which left directories: a second row
    4: 41,  # a copy in the other root: a second line and a second row
    7: 41,  # a prune took in a copy's line as a second row
    319: 41,  # a prune failed for ever where the search was damaged
    367: 41,  # the same name in the other root kept a finished run out of a history that was lost
    24: 41,  # a copy that ran with the time of its original: that got a second row
    40057: 41,  # a pruned line came back beside one that has two rows
    50019: 41,  # a deleted row stayed away while its workspace ran on below another root
    50042: 41,  # check found fault with a marker whose row is another root's
    60220: 41,  # moved, its marker spoilt, seen, and removed: a second row
    92179: 41,  # another dispatch has the identity of the new name: a line of the former one stayed without a row
    80027: 41,  # another program had recorded it again under another name: a second row
    98112: 41,  # two dispatches of one finish: where the one went since told of a copy of the other
    120022: 41,  # a finish that was seen, recorded by another process, removed and pruned came back
    120065: 41,  # check --repair wrote a line of what stands in the journal under another name
    160204: 41,  # a copy's line was taken for that of a namesake in another root, beside the original's: a second row
    170149: 41,  # a copy of what core-agent had recorded again under its name in another root: a second row
    700094: 41,  # which of a moved workspace's lines came back hung on what was read first
    900136: 41,  # a copy ran, ended with its original's time and run, which were pruned: taken for done by its marker
    1700062: 41,  # check --repair did not tell what was wrong only when it had repaired something else there
    2000560: 41,  # a copy took the place in the row of one that had lost journal and marker: that got a second row
    7720006: 41,  # the same with a marker that names a place without a row
    9100128: 41,  # and with a line whose row was seen last at another copy
    9200225: 41,  # and with a line of that name, while the row has the present one
    1300110: 41,  # the model did not know where an archived row of another root was seen last
    2700001: 41,  # the model wanted a line of a copy whose original had lost row and line, and was committed anew
    4110062: 41,  # check found fault with the marker of a copy of that time and run, whose row is another root's
    7000883: 41,  # the model wanted a copy read whose deleted row another copy had got again under its own name
    7000690: 41,  # a row was deleted by SQL before the daemon wrote down what it had seen: it stayed away
    7000065: 41,  # an original took its row back from a copy with a line of core-agent: that got a second row
    9200022: 41,  # a finish that was seen took the place of a moved one's marker: that got a second line
    9300059: 41,  # the model held a name whose row another dispatch has got back to be that of a moved finish
    9700138: 41,  # the model wanted no row in a second pass of a line of whose name a row of the first one told
    9900112: 41,  # lost its journal, and a finish that was seen there took the place of its marker: a second row
    11000567: 41,  # the model wanted a row of a copy that was seen and is gone, whose line had got its row elsewhere
    12000547: 41,  # the model wanted a copy read of whose row only its journal told, which somebody removed
    13000209: 41,  # lines of one dispatch under two former names, the second has the row, no marker: a second row
    16000341: 41,  # the model wanted a row of a finish that was seen, moved to another root and recorded there
    17000791: 41,  # the model wanted no marker of the row's name where core-agent had written a line of the new name
    27000400: 41,  # the model wanted no marker of the row that moved here where the status says otherwise of its run
    26000175: 41,  # the model wanted a row of a finish that was seen, in whose place one of its time and run was moved
    18000350: 41,  # the model wanted a row of a finish that was seen and is gone, whose time and run a line had
    19000167: 41,  # two dispatches of one time and run: the second one's line of a former name stayed without a row
    5000042: 41,  # the model wanted a pruned finish to stay so whose marker another finish replaced, within settle
}
"""Seeds that failed once, each with how many of the MOVES there were, and what it found."""
KEPT_ORDINARY = (
    600266,  # the model took the marker of another dispatch of the same time and run for that of a lost row's line
    2500559,  # a namesake of the same finish kept a copy from the row of its original in another root: a second row
    1600043,  # a row of another dispatch of a line's identity was said to be where the line stands
    2500121,  # check held a line against the row of another dispatch of its time and run, which was moved to its name
)
"""The same of those that were played with the ORDINARY moves."""


def play(base: Path, seed: int, steps: int = STEPS, *, ordinary: bool = False) -> int:
    """Play one seed; gives the passes that were compared. Raises Difference with the moves that led to it."""
    moves = ORDINARY if ordinary else MOVES[: KEPT.get(seed)]
    with new_world(base, seed) as world, _at_rest(), whole_seconds() if seed % 4 == 0 else contextlib.nullcontext():
        try:
            while len(world.steps) < steps:
                for _ in range(world.rng.choice(_MOVES_BETWEEN)):
                    _move(world, moves)
                passes.compare(world)
        except Exception as error:
            steps_before = "\n  ".join(world.steps[-40:])
            said = error if isinstance(error, Difference) else repr(error)
            raise Difference(f"seed {seed}, step {len(world.steps)}: {said}\n  {steps_before}") from error
        return world.passes


def play_kept(base: Path) -> None:
    """Play all seeds that once failed."""
    for seed in KEPT:
        play(base, seed)
    for seed in KEPT_ORDINARY:
        play(base, seed, ordinary=True)


def play_on(base: Path, first: int, passes_wanted: int, *, ordinary: bool = False) -> Iterator[tuple[int, int]]:
    """Play seeds from `first` on until there were so many passes; yields each with the passes so far."""
    done = 0
    for seed in itertools.count(first):
        done += play(base, seed, ordinary=ordinary)
        yield seed, done
        if done >= passes_wanted:
            return


def _move(world: World, moves: Sequence[tuple[Move, float]]) -> None:
    move = world.rng.choices([move for move, _ in moves], [weight for _, weight in moves])[0]
    world.steps.append(move.__name__)
    move(world)


@contextlib.contextmanager
def _at_rest() -> Iterator[None]:
    """A torn line counts as old at once, nobody waits for a second look, and nothing is logged; no file system hangs,
    and what `check` says of the host is left out: half of the time would go there."""
    before = undo.REST_SECONDS, time.sleep, paths.real_path, check_and_repair.ALL
    undo.REST_SECONDS, time.sleep, paths.real_path = 0.0, lambda _: None, os.path.realpath
    check_and_repair.ALL = check_and_repair.history, check_and_repair.waiting, check_and_repair.records
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        undo.REST_SECONDS, time.sleep, paths.real_path, check_and_repair.ALL = before
        logging.disable(logging.NOTSET)
