"""How the writes of a batch are made durable: each by its own fsyncs, overlapped, or all by a few syncfs.

The order is the same for each workspace: what it writes in one step is durable before its next step begins.
"""

from __future__ import annotations

from collections.abc import Sequence

from agentic_watch.commit.overlap import Overlap
from agentic_watch.commit.work import Work
from agentic_watch.host.filesystem_sync import is_fit, sync_filesystem

_AT_LEAST = 16


def is_worth_it(works: Sequence[Work]) -> bool:
    """Whether syncfs serves these better: many, on one file system that is fit for it and quiet."""
    if len(works) < _AT_LEAST or len({work.place.device for work in works}) > 1:
        return False
    return is_fit(works[0].meta)


def append_lines(works: Sequence[Work], overlap: Overlap, *, together: bool) -> None:
    """Step 3 of all: when it returns, every line is durable or its workspace has failed."""
    if not together:
        overlap.start(Work.append_line, works)
        overlap.wait()
        return
    for work in works:
        work.write_line()
    if not _sync_all(works):
        overlap.start(Work.sync_line, works)
        overlap.wait()


def start_markers(works: Sequence[Work], overlap: Overlap, *, together: bool) -> None:
    """Step 5 of all; unless `together`, it goes on after this returns, until `overlap.wait()`."""
    if not together:
        overlap.start(Work.replace_marker, works)
        return
    for work in works:
        work.write_marker()
    written = [work for work in works if work.error is None]
    if not _sync_all(written):
        overlap.start(Work.replace_marker, written)  # which removes the temporary ones first
        return
    for work in written:
        work.place_marker()
    placed = [work for work in written if work.error is None]
    if not _sync_all(placed):
        overlap.start(Work.replace_marker, placed)


def _sync_all(works: Sequence[Work]) -> bool:
    """Sync the file system of all; False when that failed, and each has to be synced by itself.

    The first work's descriptor was opened before any of them wrote, so it hears of every failed write.
    """
    if not works:
        return True
    try:
        sync_filesystem(works[0].meta)
    except OSError:
        return False
    return True
