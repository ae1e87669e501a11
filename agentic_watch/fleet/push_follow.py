"""`push --follow`: one thread per target and one for the hooks, each woken by changes of the history, independent of
each other."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from agentic_watch import counted
from agentic_watch.config import Hook, Target
from agentic_watch.fleet import hook_runs, one_push
from agentic_watch.fleet.one_push import PushContext, Pushed, push
from agentic_watch.fleet.target_interface import Pace
from agentic_watch.history import HistoryError
from agentic_watch.history.opening import HistoryWatch
from agentic_watch.host.threads import left_to_main_thread

log = logging.getLogger("agentic_watch.push")

HEARTBEAT_SECONDS = 300.0
"""Interval at which an idle host reports that it is alive."""
LONGEST_BACK_OFF_SECONDS = 300.0

_LOOK_SECONDS = 1.0

Loop = Callable[[PushContext, threading.Event], None]


def follow(history: str, targets: Sequence[Target], hooks: Sequence[Hook]) -> None:
    """Push until SIGTERM or SIGINT; running transactions are completed. Raises the error that ended a thread."""
    loops: list[Loop] = [partial(_follow_target, target) for target in targets]
    if hooks:
        loops.append(partial(_follow_hooks, hooks))
    stop = threading.Event()
    crashes: list[BaseException] = []
    with _wake_up_call() as (wake, wait):
        threads = [threading.Thread(target=_run, args=(loop, history, stop, crashes, wake)) for loop in loops]
        with left_to_main_thread():
            for thread in threads:
                thread.start()
        wait()
        stop.set()
        for thread in threads:
            thread.join()
    if crashes:
        raise crashes[0]


def pause_after(pushed: Pushed, failures: int, interval: float, chance: Callable[[], float] = random.random) -> float:
    """Seconds until the next push, at most the interval without failures. `chance` returns 0 to 1, so that hosts do not
    all retry at once."""
    if not pushed.error:
        return interval * (0.75 + chance() / 4)
    longest = min(LONGEST_BACK_OFF_SECONDS, 2.0 ** min(failures, 16))
    asked = (pushed.retry_after or 0.0) * (1 + chance() / 4)
    return max(asked, longest * (0.25 + 0.75 * chance()))


def _run(
    loop: Loop, history: str, stop: threading.Event, crashes: list[BaseException], wake: Callable[[], None]
) -> None:
    try:
        with one_push.opened(history, stop.wait) as opened:
            loop(opened, stop)
    except BaseException as error:  # noqa: BLE001  raised again by the main thread, which ends the process
        crashes.append(error)
    finally:
        wake()


def _follow_target(target: Target, opened: PushContext, stop: threading.Event) -> None:
    mood, pace = _LogState(), Pace()
    beat = 0.0
    with contextlib.closing(HistoryWatch(opened.history)) as watch:
        stop.wait(random.uniform(0.0, min(2.0, target.interval_seconds)))  # noqa: S311  all hosts may start at once
        while not stop.is_set():
            wait = _LOOK_SECONDS
            if watch.changed() or mood.failures or time.monotonic() >= beat:
                pushed = push(target, opened, pace=pace)
                mood.note(pushed)
                wait = pause_after(pushed, mood.failures, target.interval_seconds)
                beat = time.monotonic() + HEARTBEAT_SECONDS
            stop.wait(wait)


def _follow_hooks(hooks: Sequence[Hook], opened: PushContext, stop: threading.Event) -> None:
    said = None
    while not stop.wait(_LOOK_SECONDS):
        for hook in hooks:
            try:
                hook_runs.run_due(hook, opened, stop.is_set)
                said = None
            except HistoryError as error:
                if str(error) != said:
                    log.warning("hook %s: %s", hook.key, error)
                    said = str(error)


@dataclass(slots=True)
class _LogState:
    """The last logged state of a target, so that nothing is logged twice."""

    failures: int = 0
    said: str | None = None
    warned: str | None = None

    def note(self, pushed: Pushed) -> None:
        """Log changes once: the start and the end of an outage, and each rejected commit."""
        name = pushed.target
        for refusal in pushed.refused:
            workspace = refusal.commit.columns["workspace"]
            log.warning("%s: refuses %s: %s; set aside until push --retry-failed", name, workspace, refusal.cause)
        if pushed.warning and pushed.warning != self.warned:
            log.warning("%s: %s", name, pushed.warning)
            self.warned = pushed.warning
        if pushed.error:
            self.failures += 1
            if pushed.error != self.said:
                waiting = "" if pushed.pending is None else f", {counted(pushed.pending, 'commit')} to send"
                log.warning("%s: %s; tried again%s", name, pushed.error, waiting)
                self.said = pushed.error
            return
        if self.failures:
            log.info("%s: answers again after %s", name, counted(self.failures, "failed push"))
        self.failures, self.said = 0, None
        if pushed.sent:
            log.info("%s: sent %d in %.1f s", name, pushed.sent, pushed.seconds)


@contextlib.contextmanager
def _wake_up_call() -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """(wake, wait until woken or stopped). Uses a pipe, because a signal handler must not take a lock."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def wake(*_: object) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(writing, b".")

    def wait() -> None:
        os.read(reading, 1)

    before = {number: signal.signal(number, wake) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield wake, wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
