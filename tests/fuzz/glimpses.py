"""What must hold of finishes that were seen and may be gone, once the daemon has committed their workspaces."""

from __future__ import annotations

from typing import Any

from agentic_watch.commit import Outcome, Verdict

from .checks import row_of, want
from .world import World, identity_of

_LATER = (Verdict.BUSY, Verdict.READING, Verdict.FAILED)


def commit(world: World, names: list[str], *, flush: bool) -> None:
    """Have the daemon commit these: of each finish that it had seen there is a line and a row, or a row alone of a
    workspace that is gone."""
    last: dict[str, list[Outcome]] = {}
    for outcome in world.events(names, flush=flush):
        last.setdefault(outcome.candidate.name, []).append(outcome)
    for name, outcomes in last.items():
        if any(outcome.verdict in _LATER for outcome in outcomes):
            continue
        rows = None if any(outcome.history_error for outcome in outcomes) else world.rows()
        for seen in world.glimpsed.pop(name, {}).values():
            _check(world, name, seen, rows)


def _check(world: World, name: str, seen: dict[str, Any], rows: dict[Any, dict[str, Any]] | None) -> None:
    identity = identity_of(seen)
    row = row_of(name, identity, rows) if rows is not None else None
    want(rows is None or row is not None, f"{name}: {identity} was seen and has no row")
    if row is not None and any(row[key] != seen[key] for key in ("status", "task")):
        return  # the same identity with other content: said, and not recorded again
    if world.status(name) is None:
        world.lineless.add(identity)
    has_line = any(identity_of(line) == identity for line in world.lines(name))
    want(has_line or identity in world.lineless, f"{name}: {identity} was seen and has no line")
