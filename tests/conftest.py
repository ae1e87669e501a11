"""What every test gets: a host of its own, and a check for what was left open."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import support

_GRACE_SECONDS = 30.0


@pytest.fixture(autouse=True)
def nothing_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread running, or a file, directory or SQLite database open."""
    threads = set(threading.enumerate())
    descriptors = _open_paths()
    yield
    deadline = time.monotonic() + _GRACE_SECONDS
    left = set(threading.enumerate()) - threads
    for thread in left:
        thread.join(max(0.0, deadline - time.monotonic()))
    still = sorted(thread.name for thread in left if thread.is_alive())
    leaked = sorted(path for fd, path in _open_paths().items() if descriptors.get(fd) != path)
    problems = [f"thread {name} still runs" for name in still] + [f"{path} is still open" for path in leaked]
    if problems:
        pytest.fail(f"{request.node.name}: " + "; ".join(problems), pytrace=False)


def _open_paths() -> dict[int, str]:
    """The descriptors of this process that lead to a path (a SQLite connection holds one), pipes left out."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
        if target.startswith("/") and not target.startswith(("/proc/", "/dev/")):
            found[int(name)] = target
    return found


@pytest.fixture
def host(tmp_path: Path) -> support.Host:
    """A host with an empty root and no history yet."""
    return support.Host.make(tmp_path)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A host two hours east of UTC in summer, one in winter."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
