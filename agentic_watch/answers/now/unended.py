"""What is said of a run whose process is gone, and whose status says that it goes on: is its end recorded?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from agentic_watch.config import Ghosts
from agentic_watch.history.open_runs_table import OpenRun
from agentic_watch.host import processes
from agentic_watch.inventory.ghosts import is_ghost, is_over, named_at
from agentic_watch.workspace import instant
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.unwritten_end import before, is_unwritten

_FORCE = "commit --force takes it as it is"


def why_unended(found: Status, rows: Sequence[Mapping[str, Any]], run: OpenRun | None, ghosts: Ghosts) -> str:
    """Half a sentence; "" for a run that may go on. `rows` are the history's of its workspace, `run` is what is
    known of it."""
    is_known = run is not None and run.identity == (found.pid, found.updated_at.utc(), found.runs)
    over = is_over(run, processes.here(), processes.began(found.pid)) if run is not None and is_known else None
    if not over and not is_ghost(found.status, found.pid, named_at(found.started_at, found.updated_at)):
        return ""
    gone = f"its process {found.pid} is gone{_how(run) if over and run is not None else ''}"
    if (row := _row(found, rows)) is not None:
        return f"{gone}; recorded as failed at {row['committed_at']}, and a final status that comes later is newer"
    if ghosts.record == "never":
        return f'{gone}, and [ghosts] record = "never", so nobody may ever say how it ended ({_FORCE})'
    if over or ghosts.record == "always":
        due = f" (at {instant.now_text(run.since + ghosts.after_seconds)})" if run is not None and run.gone else ""
        return f"{gone}; it is recorded as failed once nothing was heard of it for {ghosts.after_seconds:g} s{due}"
    return (
        f"{gone}, but this host never saw it alive (it may run in a container), so nobody may ever say how it ended "
        f"({_FORCE})"
    )


def _row(found: Status, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The row of its unwritten end."""
    identity = before(found.updated_at).utc(), found.runs
    return next(
        (
            r
            for r in rows
            if (r["updated_utc"], r["runs"]) == identity and is_unwritten(r["status"], r["question"] or "")
        ),
        None,
    )


def _how(run: OpenRun) -> str:
    """How that is known."""
    if run.began is None or (run.boot and run.boot != processes.here().boot):
        return " (the host has booted since)"
    return f" (it was seen alive, begun at {instant.now_text(min(processes.wall_time(run.began), time.time()))})"
