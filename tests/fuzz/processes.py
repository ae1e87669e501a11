"""A daemon as a process of its own, while workspaces are dispatched, finished and moved under it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

from . import directories, dispatchers, rule
from .records import Records
from .world import World, want

_SECONDS = 40.0
_sleep = time.sleep
"""The real one: a seed is played without waiting."""
_MOVES = (
    dispatchers.dispatch,
    dispatchers.rewrite,
    dispatchers.template,
    directories.move,
    directories.copy,
    directories.rotate,
    directories.rsync,
)


def daemon_process(world: World) -> None:
    """A daemon starts, hears of some moves, and is stopped or killed; after each all that is finished is recorded."""
    world.close()
    before = world.records()
    with _running(world) as process:
        _settle(world, before, process)
        for _ in range(2):
            move = world.rng.choice(_MOVES)
            world.steps.append(f"{move.__name__} under the daemon")
            move(world)
            _settle(world, world.records(), process)


@contextlib.contextmanager
def _running(world: World) -> Iterator[subprocess.Popen[bytes]]:
    log = world.base / "process.log"
    said = log.stat().st_size if log.exists() else 0
    process = world.program.process()
    try:
        _wait(lambda: [] if b"ready: " in log.read_bytes()[said:] else ["it is not ready"], process)
        yield process
        if world.chance(0.5):
            process.send_signal(signal.SIGTERM)
            want(process.wait(_SECONDS) == 0, f"the daemon ended with {process.returncode}")
    finally:
        process.kill()
        process.wait()


def _settle(world: World, before: Records, process: subprocess.Popen[bytes]) -> None:
    """Wait until nothing is lacking; then the daemon has done that, and nothing else."""
    _wait(lambda: [*rule.lacking(before, world.records())], process)
    wrong = [*rule.wrong(before, world.records(), {}, whole=True)]
    want(not wrong, "the daemon: " + "\n    ".join(wrong))


def _wait(lacking: Callable[[], list[str]], process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _SECONDS
    while left := lacking():
        late = time.monotonic() > deadline
        want(not late and process.poll() is None, f"the daemon ({process.poll()}) has left: {left}")
        _sleep(0.02)
