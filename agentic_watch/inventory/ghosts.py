"""Which running dispatches are ghosts: their process is gone, whoever has its number now."""

from __future__ import annotations

from agentic_watch.host.processes import is_alive
from agentic_watch.workspace.instant import Instant


def is_ghost(status: str, pid: int, named_at: int | None = None) -> bool:
    """Whether a dispatch says it is running while its process is gone.

    `named_at`: when the status named this pid, in nanoseconds since the epoch (the function of that name tells). A
    process that began after that is another one.
    """
    return status == "running" and 0 < pid < 2**31 and not is_alive(pid, named_at)


def named_at(started_at: Instant, updated_at: Instant) -> int | None:
    """When a status named its pid: its last writing. None for one that does not say when its dispatch began."""
    return None if started_at.is_zero else max(started_at.ns, updated_at.ns)
