"""A daemon that hears of workspaces: what it saw finished has a line and a row, or a row alone when it is gone."""

from __future__ import annotations

import shutil

from agentic_watch.commit.outcome import Verdict

from . import rule
from .dispatchers import rewrite
from .records import Records, Where
from .world import World, want

_LATER = (Verdict.BUSY, Verdict.READING, Verdict.FAILED)


def event(world: World) -> None:
    """The daemon hears of some workspaces; what it saw may not be flushed before the next move."""
    places = sorted({*world.places(), *world.seen})
    if chosen := [where for where in places if world.chance(0.5)]:
        _commit(world, chosen, flush=world.chance(0.5))


def come_to_rest(world: World) -> None:
    """The daemon commits all that it saw: it does so within seconds."""
    if world.seen:
        _commit(world, sorted(world.seen), flush=True)


def glimpse(world: World) -> None:
    """The daemon sees finishes that are replaced, or removed, before they have come to rest, and commits them later."""
    if (where := world.some()) is None:
        return
    for _ in range(world.rng.choice((1, 1, 2, 3))):
        rewrite(world, where)
        _look(world, where)
    fate = world.rng.random()
    if fate < 0.4:
        rewrite(world, where)
    elif fate < 0.7:
        shutil.rmtree(world.path(where))
    if world.chance(0.6):
        _commit(world, [where], flush=world.chance(0.5))


def _look(world: World, where: Where) -> None:
    world.working_daemon().look(where)
    now = world.records()
    dispatch = now.at(where).dispatch
    # What is done, and had its row elsewhere or pruned, leaves nothing to be made of it.
    if dispatch is not None and not now.is_elsewhere(where, dispatch) and not now.was_done(where, dispatch):
        world.seen.setdefault(where, set()).add(dispatch)
        world.told_names[where, dispatch] = now.names_told(where, dispatch)
        if rule.says_otherwise(where, now.at(where), dispatch, now):
            world.contradicted.add((where, dispatch))


def _commit(world: World, places: list[Where], *, flush: bool) -> None:
    """Have the daemon commit these: of each finish that it had seen there is a line and a row."""
    daemon, later = world.working_daemon(), set()
    with world.watched() as before:
        for where, outcome in daemon.commit(places, flush=flush):
            if outcome.verdict in _LATER or outcome.history_error:
                later.add(where)
    after = world.records()
    for where in set(places) - later:
        _check(world, where, before, after)


def _check(world: World, where: Where, before: Records, after: Records) -> None:
    for dispatch in world.seen.pop(where, set()):
        if any(before.was_done(place, dispatch) for place in before.workspaces):
            continue  # there, or where its directory went
        now = before.at(where).dispatch
        if (where, dispatch) in world.contradicted or (now is not None and now.key == dispatch.key and now != dispatch):
            continue  # another one had, or has, its time and run: said, and not recorded again
        row = after.rows.get((where, dispatch.key))
        # What is gone is recorded by a row under its name, or one that it told when it was seen, of whatever root.
        names = {where[1], *world.told_names.get((where, dispatch), ())} if where not in after.workspaces else ()
        is_recorded = after.is_recorded(where, dispatch) or any(after.has_row(name, dispatch) for name in names)
        want(row or is_recorded, f"{where}: {dispatch} was seen and has no row")
        if row is not None and row.dispatch != dispatch:
            continue  # the same identity with other content: said, and not recorded again
        there = after.at(where)
        told = there.names(dispatch) or not there.has_status or rule.differs(where, after)
        want(told or before.is_recorded(where, dispatch), f"{where}: {dispatch} was seen and has no line")
