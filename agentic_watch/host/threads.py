"""A thread pool for overlapping disk waits, and threads that leave signals to the main thread."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from queue import SimpleQueue
from typing import TypeVar

_Item = TypeVar("_Item")
_OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class ThreadPool:
    """Runs one step for many items in a few threads, so that their waits for the disk overlap.

    open, write and fsync release the interpreter's lock, and a file system combines simultaneous syncs into one write
    of its journal. Threads are started on first use; if the host has none left, the calling thread does the work.
    """

    def __init__(self, threads: int = 16) -> None:
        self._most = threads
        self._threads: list[threading.Thread] = []
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self._running = 0

    def start(self, step: Callable[[_Item], None], items: Iterable[_Item]) -> None:
        """Start calling `step` for each item, in any order; a single item is done before this returns."""
        waiting = deque(items)
        if len(waiting) == 1:
            step(waiting.popleft())
        for _ in range(min(self._most, len(waiting))):
            self.begin(partial(_drain, step, waiting))

    def begin(self, task: Callable[[], None]) -> None:
        """Start one task in a thread."""
        if self._running == len(self._threads) < self._most:
            self._start_thread()
        self._running += 1
        if self._threads:
            self._tasks.put(task)
        else:
            self._run(task)

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"write {self._running}")
        # At a limit of processes or memory, use the existing threads or the calling one.
        with left_to_main_thread(), contextlib.suppress(RuntimeError):
            thread.start()
            self._threads.append(thread)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._run(task)

    def _run(self, task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:  # noqa: BLE001  it is raised where the work is waited for
            self._ended.put(error)
        else:
            self._ended.put(None)

    def wait(self) -> None:
        """Wait until all started work is done; raises one of its errors."""
        raised = None
        while self._running:
            raised = self._ended.get() or raised
            self._running -= 1
        if raised is not None:
            raise raised

    def close(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._threads.clear()


def _drain(step: Callable[[_Item], None], waiting: deque[_Item]) -> None:
    while True:
        try:
            item = waiting.popleft()
        except IndexError:
            return
        step(item)


@contextlib.contextmanager
def left_to_main_thread() -> Iterator[None]:
    """Threads started in this block never receive our signals: they inherit the mask (pthread_sigmask(3)).

    The kernel delivers a signal to any thread that does not block it, but Python handles it in the main thread, which
    would not wake up for it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
