"""Many workspaces written at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

_Item = TypeVar("_Item")


class Overlap:
    """Runs one step for many items in a few threads, so that their waits for the disk overlap.

    open, write and fsync release the interpreter's lock, and the file system serves syncs that come together
    with one write of its own journal. The threads start when first needed.
    """

    def __init__(self, threads: int = 16) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._running: list[Future[None]] = []

    def start(self, step: Callable[[_Item], None], items: Iterable[_Item]) -> None:
        """Begin to call `step` for each item, in no order. `step` must not raise."""
        waiting = deque(items)
        if len(waiting) < 2:
            _drain(step, waiting)
            return
        if self._pool is None:
            from concurrent.futures import ThreadPoolExecutor  # 20 ms to import: only a group needs it

            self._pool = ThreadPoolExecutor(self._threads, "write")
        from agentic_watch.service.signals import left_to_main_thread

        with left_to_main_thread():  # the pool starts its threads as work comes
            for _ in range(min(self._threads, len(waiting))):
                self._running.append(self._pool.submit(_drain, step, waiting))

    def wait(self) -> None:
        """Wait until all that was started is done."""
        for task in self._running:
            task.result()
        self._running.clear()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


def _drain(step: Callable[[_Item], None], waiting: deque[_Item]) -> None:
    while True:
        try:
            item = waiting.popleft()
        except IndexError:
            return
        step(item)
