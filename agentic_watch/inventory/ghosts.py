"""Detects ghosts: running dispatches whose process is gone, even if its pid was reused."""

from __future__ import annotations

from agentic_watch.history.open_runs_table import EARLIER_BOOT, OpenRun
from agentic_watch.host.processes import NOT_SHOWN, Here, is_alive
from agentic_watch.workspace.instant import Instant

UNENDED = ("running", "queued")
"""Known statuses that must be followed by another one."""


def is_ghost(status: str, pid: int, named_at: int | None = None) -> bool:
    """Whether a dispatch has the status running while its process is gone.

    `named_at`: when the status recorded its pid, in nanoseconds since the epoch (see the function `named_at`). A
    process that started later is another one.
    """
    return status in UNENDED and is_process(pid) and not is_alive(pid, named_at)


def is_process(pid: int) -> bool:
    """Whether a status's `pid` is a valid process id."""
    return 0 < pid < 2**31


def named_at(started_at: Instant, updated_at: Instant) -> int | None:
    """When a status recorded its pid: its updated_at. None if it has no started_at."""
    return None if started_at.is_zero else max(started_at.ns, updated_at.ns)


def is_over(run: OpenRun, here: Here, began: int | None) -> bool | None:
    """Whether the process of an open run is gone; None when this host cannot know, because it never saw it alive.

    `began` is the start of the process that has the pid now (processes.began). The host may have rebooted since the
    status was read or written; processes in other namespaces (a container) are not visible from here.
    """
    if run.boot == EARLIER_BOOT:
        return True if began is None else None
    if _has_booted(run, here):
        return True
    if run.began is None or run.namespaces != here.namespaces:
        return None
    return began not in (run.began, NOT_SHOWN)


def was_here(run: OpenRun, here: Here) -> bool:
    """Whether this host saw the process of a run alive, or has rebooted since its last status."""
    return run.began is not None or run.boot == EARLIER_BOOT or _has_booted(run, here)


def _has_booted(run: OpenRun, here: Here) -> bool:
    return bool(here.boot and run.boot) and run.boot != here.boot
