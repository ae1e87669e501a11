"""Steps that overlap in threads, and what is done where the host has no thread left."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from agentic_watch.host.threads import ThreadPool


@pytest.mark.parametrize("left", [0, 1, 3])
def test_where_no_thread_can_be_started_the_calling_one_works(monkeypatch: pytest.MonkeyPatch, left: int) -> None:
    """A limit of processes is no reason to stop: all is done, by as many threads as there are."""
    start, started = threading.Thread.start, []

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("write "):
            if len(started) >= left:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    overlap = ThreadPool()
    done: list[int] = []
    overlap.start(done.append, range(50))
    overlap.begin(partial(done.append, 50))
    overlap.wait()
    overlap.close()
    assert sorted(done) == list(range(51))


def test_what_a_step_raises_is_raised_where_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a thread or in the calling one."""

    def broken() -> None:
        raise ValueError("broken")

    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name.startswith("write "):
            raise RuntimeError("can't start new thread")
        start(thread)

    for limited in (False, True):
        with monkeypatch.context() as patched:
            if limited:
                patched.setattr(threading.Thread, "start", refused)
            overlap = ThreadPool()
            overlap.begin(broken)
            with pytest.raises(ValueError, match="broken"):
                overlap.wait()
            overlap.close()
