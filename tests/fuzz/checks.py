"""What must hold after a pass that was not disturbed."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from typing import Any

from agentic_watch.config import FINISHED

from .world import World, identity_of


class Difference(Exception):
    """The disk or the history is not what the model says."""


def want(truth: object, said: str) -> None:
    """Raise Difference with `said` unless `truth`."""
    if not truth:
        raise Difference(said)


def check(world: World) -> None:
    """Compare journals, rows and markers with what the moves promise, and take down what they promise from now on."""
    rows = world.rows()
    for name in world.names():
        _check_workspace(world, name, rows)
    lost = {key for key in world.must if key not in rows}
    want(not lost, f"rows are lost: {sorted(lost)}")
    invented = {identity for _, identity in rows} - {identity for _, identity in world.ever}
    want(not invented, f"rows that no status ever had: {sorted(invented)}")
    world.must = set(rows)
    _check_derived(world)


def _check_workspace(world: World, name: str, rows: dict[Any, dict[str, Any]]) -> None:
    lines = world.lines(name)
    own = [line for line in lines if line["workspace"] == name]
    twice = [key for key, count in Counter((x["workspace"], identity_of(x)) for x in lines).items() if count > 1]
    want(not twice, f"{name}: lines that are there twice: {twice}")
    left = [path.name for path in world.meta(name).glob("*") if ".tmp" in path.name]
    want(not left, f"{name}: temporary files: {left}")
    status = world.status(name)
    if status is None:
        return
    for line in own:
        key = name, identity_of(line)
        row = row_of(name, key[1], rows)
        want(row is not None, f"{name}: the line of {key[1]} has no row")
        if row is not None and key[1] not in world.by_others | world.lineless:
            want(row["committed_at"] == line["committed_at"], f"{name}: row and line of {key[1]} disagree")
    if status["status"] in FINISHED:
        _check_finished(world, name, status, rows)


def _check_finished(world: World, name: str, status: dict[str, Any], rows: dict[Any, dict[str, Any]]) -> None:
    identity = identity_of(status)
    row = row_of(name, identity, rows)
    want(row is not None, f"{name}: finished {identity} has no row")
    assert row is not None
    if any(row[key] != status.get(key, "") for key in ("status", "task")):
        return  # the same identity with other content: said, and not recorded again
    line = [x for x in world.lines(name) if identity_of(x) == identity]
    if any(other == identity and r["moved_to"] for (_, other), r in rows.items()):
        want(line or identity in world.lineless, f"{name}: finished {identity} has no line under any name")
        return  # it came here under another name, or is known by it elsewhere
    line = [x for x in line if x["workspace"] == name]
    if not line and identity in world.lineless:
        return
    want(len(line) == 1, f"{name}: finished {identity} has {len(line)} lines")
    mark = world.mark(name)
    want(mark is not None and identity_of(mark) == identity, f"{name}: the marker is {mark}, not {identity}")
    assert mark is not None
    if identity in world.by_others:
        return  # its marker may be core-agent's, whose line was appended to half of another
    want(mark["committed_at"] == line[0]["committed_at"], f"{name}: marker and line of {identity} disagree")


def row_of(name: str, identity: object, rows: dict[Any, dict[str, Any]]) -> dict[str, Any] | None:
    """The row of a commit of a workspace, also when that had another name."""
    here = rows.get((name, identity))
    return here or next((r for (_, other), r in rows.items() if other == identity and r["moved_to"] == name), None)


def _check_derived(world: World) -> None:
    with contextlib.closing(sqlite3.connect(world.history_path)) as connection:
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
