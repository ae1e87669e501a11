"""A pass, and what must hold after it."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace

from . import rule
from .records import Records
from .world import Difference, Pass, World, want

_MARKED_AS_WRONG = "records"


def one(world: World) -> None:
    """A pass in the middle of a move."""
    with world.watched():
        world.one_pass()


def compare(world: World) -> None:
    """A pass that nothing disturbs, and all that must hold after it."""
    world.steps.append("pass")
    with world.watched(whole=True) as before:
        _until_quiet(world)
    after = world.records()
    # A copy that is not read meanwhile may lack what another one has under its own name by now.
    unread = {
        there.dispatch
        for where, there in after.workspaces.items()
        if there.dispatch is not None and not after.is_recorded(where, there.dispatch)
    }
    world.late.difference_update({row.dispatch for row in after.rows.values()} - unread)
    # What the index knows to be pruned needs no line and no marker any more.
    world.pruned = {(where, dispatch) for where, dispatch in world.pruned if before.at(where).dispatch == dispatch}
    lacking = [*rule.lacking(before, after, world.late, world.pruned)]
    want(not lacking, "\n    ".join(lacking))
    world.late.update(rule.left_alone(after))
    finished = ((where, there.dispatch) for where, there in after.workspaces.items() if there.dispatch is not None)
    world.pruned |= {(where, dispatch) for where, dispatch in finished if after.was_done(where, dispatch)}
    _check_derived(world)
    temporary = [path for root in world.roots for path in root.path.rglob(".meta/*.tmp*")]
    want(not temporary, f"temporary files: {temporary}")
    if world.chance(0.3):
        _again(world, after)
    if world.chance(0.5):
        repair(world)


def _until_quiet(world: World) -> None:
    """A pass; and a second when the first one found out that the history was damaged or is another."""
    did: Pass | None = None
    for _ in range(3):
        did = world.one_pass()
        if not did.failures:
            return
    raise Difference(f"three passes failed: {did}")


def _again(world: World, before: Records) -> None:
    """A second pass has nothing to do, but for lines of whose names only the rows of the first one tell."""
    world.steps.append("second pass")
    told = [*rule.lacking_rows(before, before, world.late)]
    did = world.one_pass()
    if told:
        want(did == Pass(0, len(told), ()), f"a second pass did {did}, and lacked {told}")
        lacking = [*rule.lacking_rows(before, world.records(), world.late)]
        want(not lacking, f"a second pass left {lacking}")
        return
    want(did == Pass(0, 0, ()), f"a second pass did {did}")
    _want_same(before, world.records(), "a second pass")


def _want_same(before: Records, after: Records, who: str) -> None:
    for where in before.workspaces.keys() | after.workspaces.keys():
        was, there = before.at(where), after.at(where)
        want((was.journal, was.marker) == (there.journal, there.marker), f"{who} changed a record of {where}")
    _want_same_rows(before, after, who)


def _want_same_rows(before: Records, after: Records, who: str) -> None:
    for identity in before.rows.keys() | after.rows.keys():
        row, now = before.rows.get(identity), after.rows.get(identity)
        same = row is not None and now is not None and row[:4] == now[:4]
        # Where it was seen last may be told anew, by whoever has it.
        may = same and now is not None and (now.seen_at or now.where) in rule.holders(now, after)
        want(row == now or may, f"{who} made {now} of {row}")


def repair(world: World) -> None:
    """`check --repair` writes the lines that somebody took away, and changes nothing else; then all is well."""
    world.steps.append("repair")
    before = world.records()
    document = world.program.run("check", "--repair", "--json").document()
    after = world.records()
    came_late = {identity: row for identity, row in after.rows.items() if row.dispatch in world.late}
    _want_same_rows(replace(before, rows={**came_late, **before.rows}), after, "check --repair")
    for where in before.workspaces:
        was, there = before.at(where), after.at(where)
        made = was.mark is None and there.mark is not None and (where, there.mark.key) in before.rows
        want(was.marker == there.marker or made, f"check --repair: {where} had {was.mark}, and has {there.mark}")
        lost = rule.lines_lost(where, before)
        added = there.lines[len(was.lines) :]
        want(there.journal.startswith(was.whole) and set(added) <= lost, f"check --repair added {added} to {where}")
    for found in document["rows"]:
        if found["check"] == _MARKED_AS_WRONG and found["ok"] is False and not found["repaired"]:
            where = found["root"] or "", found["workspace"] or ""
            right = "invalid line" in found["error"] and after.at(where).has_broken_lines
            right |= "neither a row nor a journal line" in found["error"] and rule.is_unconfirmed(where, after)
            want(right or rule.differs(where, after), f"check still finds after a pass and a repair: {found}")


def _check_derived(world: World) -> None:
    with contextlib.closing(sqlite3.connect(world.program.history)) as connection:
        try:
            connection.execute("INSERT INTO dispatch_search (dispatch_search, rank) VALUES ('integrity-check', 1)")
            world.damaged = False
        except sqlite3.Error as error:
            want(world.damaged, f"the search does not agree with its tables: {error}")
        sql = (
            "SELECT count(*) FROM dispatch_history AS d WHERE findings_count <> "
            "(SELECT count(*) FROM findings WHERE dispatch_id = d.id)"
        )
        want(connection.execute(sql).fetchone() == (0,), "findings are not what the reports say")
        want(connection.execute("PRAGMA foreign_key_check").fetchall() == [], "findings without a dispatch")
        want(connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), "the history is damaged")
