"""Work that is shared out to forks of this process. Each says over a pipe how far it is, and at last what came of it.

A fork takes along whatever lock another thread holds: only a process without other threads has jobs.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import struct
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

MOST = 8
"""More would wait for each other's turn to write the history."""
WORTH_IT = 1_000
"""Fewer things to look at are done before another process has started."""
_LENGTH = struct.Struct("=I")
_CHUNK = 1 << 20

_Item = TypeVar("_Item")
_Value = TypeVar("_Value")
Tell = Callable[[Any], None]
Work = Callable[[int, Tell], Any]
"""(number, tell) → what came of it; both that and what is told can be pickled."""


class _Job:
    def __init__(self, number: int, pid: int, answer: int) -> None:
        self.number = number
        self.pid = pid
        self.answer = answer
        self.said = bytearray()

    def messages(self) -> Iterator[tuple[bool, Any]]:
        """Whole messages that have arrived: (is it the last, what it says)."""
        import pickle  # 3 ms, and most passes have no jobs

        while len(self.said) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self.said)
            end = _LENGTH.size + size
            if len(self.said) < end:
                return
            message = pickle.loads(memoryview(self.said)[_LENGTH.size : end])  # noqa: S301  our own fork wrote it
            del self.said[:end]
            yield message


class Jobs:
    """Runs `work` for each number in a process of its own; `hear` gets (number, what it told meanwhile)."""

    def __init__(self, work: Work, hear: Callable[[int, Any], None] = lambda *_: None) -> None:
        self._work = work
        self._hear = hear
        self._running: dict[int, _Job] = {}
        self.results: dict[int, Any] = {}
        self.died: dict[int, str] = {}
        """By number, how a job ended that gave no result."""
        self.not_started: list[int] = []
        """Those that the host had no process for."""

    def run(self, numbers: Iterable[int]) -> None:
        """Start all and wait until each has ended."""
        try:
            for number in numbers:
                self._start(number)
            while self._running:
                self._take_in()
        finally:
            self._end_all()

    def stop(self) -> None:
        """Ask all to end soon (SIGTERM): for a signal handler."""
        for job in list(self._running.values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(job.pid, signal.SIGTERM)

    def _start(self, number: int) -> None:
        answer, tell = os.pipe()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()  # else a fork would say once more what waits there
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                for other in (answer, *self._running):  # else nobody would notice that the first process is gone
                    os.close(other)
                _be_a_job(self._work, number, tell, before)
        except OSError:
            os.close(answer)
            self.not_started.append(number)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(tell)
        self._running[answer] = _Job(number, pid, answer)

    def _take_in(self) -> None:
        """Wait until some have something to say, and hear it."""
        waiting = select.poll()
        for answer in self._running:
            waiting.register(answer, select.POLLIN)
        for answer, _ in waiting.poll():
            job = self._running[answer]
            piece = os.read(answer, _CHUNK)
            job.said += piece
            for is_last, message in job.messages():
                if is_last:
                    self.results[job.number] = message
                else:
                    self._hear(job.number, message)
            if not piece:
                self._ended(job)

    def _ended(self, job: _Job) -> None:
        del self._running[job.answer]
        os.close(job.answer)
        _, status = os.waitpid(job.pid, 0)
        if job.number not in self.results:
            code = os.waitstatus_to_exitcode(status)
            self.died[job.number] = f"was killed by signal {-code}" if code < 0 else f"ended with exit status {code}"

    def _end_all(self) -> None:
        """Nobody waits for what is still running."""
        for job in list(self._running.values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(job.pid, signal.SIGKILL)
            self._ended(job)


def _be_a_job(work: Work, number: int, tell: int, mask: set[int | signal.Signals]) -> None:
    """Never returns. Ctrl-C reaches the first process too, which tells the others to stop; when it is gone, the next
    word ends this one."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

        import pickle

        def say(message: tuple[bool, Any]) -> None:
            data = pickle.dumps(message)
            rest = memoryview(_LENGTH.pack(len(data)) + data)
            while rest:
                rest = rest[os.write(tell, rest) :]

        say((True, work(number, lambda message: say((False, message)))))
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
    """How many jobs this process may have, and this host has processors for; 1: no other process."""
    return min(processors(), MOST) if threading.active_count() == 1 else 1


def parallel_map(step: Callable[[Sequence[_Item]], list[_Value]], items: Sequence[_Item]) -> list[_Value]:
    """What `step` gives for all items, in their order, by as many jobs as are worth it.

    `step` gives one value an item, and changes nothing. What a job that died should have done is done here.
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
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except OSError:  # a strict seccomp filter
        return 1
