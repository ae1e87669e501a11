"""Runs the program with the workspaces of a batch written one after the other, in the main thread, two to a batch.

strace counts a thread's calls apart (`when=k` is the k-th of each thread), so only in this form is every
single call a point of its own that can be named; and a torn line that was planted just now counts as old, since who
waits for it to rest makes more calls or fewer. What is written, and when, is the product's doing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from agentic_watch.cli import main
from agentic_watch.commit import batches
from agentic_watch.host import threads
from agentic_watch.workspace import undo


def _one_by_one(self: threads.ThreadPool, step: Callable[[Any], None], items: Iterable[Any]) -> None:
    for item in items:
        step(item)


def _now(self: threads.ThreadPool, task: Callable[[], None]) -> None:
    task()


if __name__ == "__main__":
    threads.ThreadPool.start = _one_by_one  # type: ignore[method-assign]
    threads.ThreadPool.begin = _now  # type: ignore[method-assign]
    batches._AT_MOST = 2
    undo.REST_SECONDS = 0.0
    main()
