"""Runs the program with the syncs of a group one after the other, in the main thread.

strace counts a thread's calls apart (`when=k` is the k-th of each thread), so only in this form is every
single sync a point of its own that can be named. What is synced, and when, is the product's doing.
"""

from __future__ import annotations

from agentic_watch.cli import main
from agentic_watch.workspace import syncer


def _in_line(self: syncer.Syncer, targets: list[tuple[int, str]]) -> list[Exception | None]:
    return [syncer._try_sync(target) for target in targets]


if __name__ == "__main__":
    syncer.Syncer.sync = _in_line
    main()
