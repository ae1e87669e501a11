"""Simulated hosts: a history and a push.db each, and the pusher's own code on the pusher's own schedule."""

from __future__ import annotations

import contextlib
import heapq
import multiprocessing
import os
import random
import shutil
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentic_watch.config import Target
from agentic_watch.fleet import one_push
from agentic_watch.fleet.push_follow import pause_after
from agentic_watch.history import rows
from agentic_watch.history.opening import HistoryWatch
from agentic_watch.history.store import History
from agentic_watch.workspace import record
from agentic_watch.workspace.instant import Instant
from agentic_watch.workspace.jsontext import dump

PROCESSES = 2
THREADS = 8
_LOOK_SECONDS = 1.0
_FINDINGS = [
    {"tool": "gosec", "severity": "medium", "file": f"pkg/{n}.go", "line": n, "code": "G304", "message": "x" * 120}
    for n in range(4)
]
REPORT = {"passed": True, "findings": _FINDINGS, "changes": {"files_changed": 3, "insertions": 90, "deletions": 7}}


def row(number: int, root: str, ns: int) -> rows.Row:
    """A dispatch that ended at `ns`, with a report as reports are."""
    utc = Instant("", ns).utc()
    document = {
        **dict.fromkeys(("branch", "pr_url", "process_id", "question"), ""),
        "agent": "codex:gpt-5",
        "org": "acme",
        "repo": f"repo{number % 20}",
        "status": "completed",
        "issue": number,
        "task": "Round invoice totals half to even, and say so in the docs",
        "runs": 1,
        "report": REPORT,
        "workspace": f"acme/repo{number % 20}/task-{number}",
        "started_at": "2026-04-14T10:00:00Z",
        "updated_at": utc,
        "committed_at": f"{utc[:19]}Z",
        "findings": _FINDINGS,
        "changes": REPORT["changes"],
    }
    return rows.from_record(record.from_line(dump(document).encode()), root, os.path.basename(root))


def make(base: Path, count: int, each: int = 0) -> list[Path]:
    """Directories of so many hosts, each with a history of so many commits."""
    template = base / "template"
    fill(template / "history.db", "/srv/agents", range(each))
    made = []
    for number in range(count):
        host = base / f"host-{number:04}"
        shutil.copytree(template, host)
        with contextlib.closing(sqlite3.connect(host / "history.db")) as connection:
            connection.execute("UPDATE about SET history_id = ?", (str(uuid.uuid4()),))
            connection.commit()
        made.append(host)
    return made


def fill(history: Path, root: str, numbers: range) -> None:
    """Insert commits that end now."""
    with contextlib.closing(History(str(history))) as store:
        for start in range(numbers.start, max(numbers.stop, numbers.start + 1), 500):
            part = [row(n, root, time.time_ns()) for n in numbers if start <= n < start + 500]
            store.insert(part)


@dataclass(order=True, slots=True)
class _Host:
    due: float
    number: int = field(compare=False)
    directory: Path = field(compare=False)
    failures: int = field(default=0, compare=False)
    watch: HistoryWatch | None = field(default=None, compare=False)


@contextlib.contextmanager
def following(hosts: list[Path], target: Target) -> Iterator[Any]:
    """All hosts follow, in a few processes; what is yielded counts their pushes and the failed ones."""
    stop = multiprocessing.Event()
    counts = multiprocessing.Array("q", 2)
    shares = [hosts[n::PROCESSES] for n in range(PROCESSES)]
    workers = [multiprocessing.Process(target=_work, args=(share, target, stop, counts)) for share in shares]
    for worker in workers:
        worker.start()
    try:
        yield counts
    finally:
        stop.set()
        for worker in workers:
            worker.join()


def _work(hosts: list[Path], target: Target, stop: Any, counts: Any) -> None:
    now = time.monotonic()
    due = [_Host(now + random.uniform(0, target.interval_seconds), n, host) for n, host in enumerate(hosts)]
    heapq.heapify(due)
    lock = threading.Lock()
    threads = [threading.Thread(target=_serve, args=(due, lock, target, stop, counts)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _serve(due: list[_Host], lock: threading.Lock, target: Target, stop: Any, counts: Any) -> None:
    while not stop.is_set():
        with lock:
            host = heapq.heappop(due) if due and due[0].due <= time.monotonic() else None
        if host is None:
            time.sleep(0.01)
            continue
        wait = _turn(host, target, counts)
        host.due = time.monotonic() + wait
        with lock:
            heapq.heappush(due, host)


def _turn(host: _Host, target: Target, counts: Any) -> float:
    """One turn of `push --follow` for one host; gives the seconds until its next."""
    history = str(host.directory / "history.db")
    host.watch = host.watch or HistoryWatch(history)
    changed = host.watch.changed()
    host.watch.close()  # a thousand hosts are here, each with a file of its own
    if not changed and not host.failures:
        return _LOOK_SECONDS
    with one_push.opened(history) as opened:
        pushed = one_push.push(target, opened)
    with counts.get_lock():
        counts[0] += 1
        counts[1] += pushed.error is not None
    host.failures = host.failures + 1 if pushed.error else 0
    return pause_after(pushed, host.failures, target.interval_seconds)
