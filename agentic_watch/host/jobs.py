"""Runs work in forks of this process, which report progress and results over pipes.

A fork copies locks held by other threads, so only a single-threaded process may start jobs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

MOST = 8
"""More jobs would wait for each other's writes to the history."""
WORTH_IT = 1_000
"""Fewer items are done before another process has started."""

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")
Tell = Callable[[Any], None]
Work = Callable[[int, Tell], Any]
"""(number, tell) → result; results and progress must be picklable."""


class Jobs:
    """Runs `work` for each number in a separate process; `hear` receives (number, progress)."""

    def __init__(self, work: Work, hear: Callable[[int, Any], None] = lambda *_: None) -> None:
        self._work = work
        self._hear = hear
        self._running: dict[Connection, tuple[int, int]] = {}
        self.results: dict[int, Any] = {}
        self.died: dict[int, str] = {}
        """How jobs without a result ended, by number."""
        self.not_started: list[int] = []
        """Numbers whose process could not be started."""

    def run(self, numbers: Iterable[int]) -> None:
        """Start all jobs and wait until they have ended."""
        try:
            for number in numbers:
                self._start(number)
            while self._running:
                self._take_in()
        finally:
            self._end_all()

    def stop(self) -> None:
        """Ask all jobs to end soon (SIGTERM). Called from a signal handler."""
        for _, pid in list(self._running.values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _start(self, number: int) -> None:
        from multiprocessing.connection import Pipe  # late: takes 10 ms, and most passes have no jobs

        answer, tell = Pipe(duplex=False)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # else a fork would write buffered output again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                for other in (answer, *self._running):  # else the end of the parent would not be noticed
                    other.close()
                _be_a_job(self._work, number, tell, before)
        except OSError:
            answer.close()
            self.not_started.append(number)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            tell.close()
        self._running[answer] = number, pid

    def _take_in(self) -> None:
        """Wait for progress or results, and handle them."""
        from multiprocessing.connection import wait

        ready = wait(list(self._running))
        for answer in [one for one in self._running if one in ready]:
            number, _ = self._running[answer]
            try:
                is_last, message = answer.recv()
            except (EOFError, OSError):  # end of file, or killed during a write
                self._ended(answer)
                continue
            if is_last:
                self.results[number] = message
            else:
                self._hear(number, message)

    def _ended(self, answer: Connection) -> None:
        number, pid = self._running.pop(answer)
        answer.close()
        _, status = os.waitpid(pid, 0)
        if number not in self.results:
            code = os.waitstatus_to_exitcode(status)
            self.died[number] = f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"

    def _end_all(self) -> None:
        """Kill jobs that are still running."""
        for answer, (_, pid) in list(self._running.items()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            self._ended(answer)


def _be_a_job(work: Work, number: int, tell: Connection, mask: set[int | signal.Signals]) -> None:
    """Run the work in a fork; never returns. Ctrl-C is left to the parent, which stops its jobs; if the parent is gone,
    the next message ends this process."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        tell.send((True, work(number, lambda message: tell.send((False, message)))))
        status = 0
    except BrokenPipeError:
        pass
    except BaseException:  # noqa: BLE001  the process ends here, whatever it was
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(status)


def fitting() -> int:
    """The number of jobs for this process and host; 1 means no other process."""
    return min(processors(), MOST) if threading.active_count() == 1 else 1


def parallel_map(step: Callable[[Sequence[_Item]], list[_Value]], items: Sequence[_Item]) -> list[_Value]:
    """The results of `step` for all items, in order, by a suitable number of jobs.

    `step` returns one value per item and has no side effects. The items of a job that died are done in this process.
    """
    count = fitting() if len(items) >= WORTH_IT else 1
    if count == 1:
        return step(items)
    size = -(-len(items) // count)
    jobs = Jobs(lambda number, _: step(items[number * size : (number + 1) * size]))
    jobs.run(range(count))
    for number in (*jobs.died, *jobs.not_started):
        jobs.results[number] = step(items[number * size : (number + 1) * size])
    return [value for number in range(count) for value in jobs.results[number]]


def processors() -> int:
    """Number of processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except OSError:  # a strict seccomp filter
        return 1
