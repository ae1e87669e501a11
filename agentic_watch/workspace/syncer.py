"""Many files made durable at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agentic_watch.workspace import files
from agentic_watch.workspace.errors import WorkspaceError

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor


class Syncer:
    """fsync of many descriptors at once: the calls overlap and the disk serves them together.

    fsync(2) releases the interpreter's lock, so a few threads are enough; they start when first needed.
    """

    def __init__(self, threads: int = 16) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def sync(self, targets: Sequence[tuple[int, str]]) -> list[WorkspaceError | None]:
        """Sync each (descriptor, label); gives for each None or what went wrong."""
        if len(targets) < 2:
            return [_try_sync(target) for target in targets]
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # 20 ms to import: only a group needs it

            self._pool = ThreadPoolExecutor(self._threads, "sync")
        return list(self._pool.map(_try_sync, targets))

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _try_sync(target: tuple[int, str]) -> WorkspaceError | None:
    try:
        files.sync(*target)
    except WorkspaceError as error:
        return error
    return None
