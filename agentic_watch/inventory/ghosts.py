"""Which running dispatches are ghosts: their process is gone, whoever has its number now."""

from __future__ import annotations

from agentic_watch.history.open_runs_table import EARLIER_BOOT, OpenRun
from agentic_watch.host.processes import NOT_SHOWN, Here, is_alive
from agentic_watch.workspace.instant import Instant

UNENDED = ("running", "queued")
"""The known statuses that somebody has to follow with another one."""


def is_ghost(status: str, pid: int, named_at: int | None = None) -> bool:
    """Whether a dispatch says it is running while its process is gone.

    `named_at`: when the status named this pid, in nanoseconds since the epoch (the function of that name tells). A
    process that began after that is another one.
    """
    return status in UNENDED and is_process(pid) and not is_alive(pid, named_at)


def is_process(pid: int) -> bool:
    """Whether a status's `pid` can be that of a process."""
    return 0 < pid < 2**31


def named_at(started_at: Instant, updated_at: Instant) -> int | None:
    """When a status named its pid: its last writing. None for one that does not say when its dispatch began."""
    return None if started_at.is_zero else max(started_at.ns, updated_at.ns)


def is_over(run: OpenRun, here: Here, began: int | None) -> bool | None:
    """Whether the process of an open run is gone; None when this host cannot know, for it never saw it alive.

    `began` is that of the process that has its number now (processes.began). The host may have booted since its status
    was read, or since that was written; what runs in other namespaces (a container) is not seen from here.
    """
    if run.boot == EARLIER_BOOT:
        return True if began is None else None
    if _has_booted(run, here):
        return True
    if run.began is None or run.namespaces != here.namespaces:
        return None
    return began not in (run.began, NOT_SHOWN)


def was_here(run: OpenRun, here: Here) -> bool:
    """Whether this host saw the process of a run alive, or has booted since its last word."""
    return run.began is not None or run.boot == EARLIER_BOOT or _has_booted(run, here)


def _has_booted(run: OpenRun, here: Here) -> bool:
    return bool(here.boot and run.boot) and run.boot != here.boot
