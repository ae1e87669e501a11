"""What a user could write in an afternoon instead: a durable loop, on watchdog, on watchfiles.

Written in good faith: records are synced before the next is begun, an unchanged marker spares the work, and
what was there before the start is committed too. `python -m benchmarks.rivals loop|watchdog|watchfiles ROOT HISTORY`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from typing import Any

FINISHED = {"completed", "merged", "ready-for-review", "failed", "blocked", "rejected"}
_TEXTS = ("agent", "branch", "org", "pr_url", "process_id", "question", "repo", "status", "task")
_COLUMNS = (*_TEXTS, "workspace", "started_at", "updated_at", "committed_at", "issue", "runs", "report")


def open_history(path: str) -> sqlite3.Connection:
    """A history with one table, as durable as SQLite can be."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS dispatches ({', '.join(_COLUMNS)}, UNIQUE (workspace, updated_at, runs))"
    )
    return connection


def commit(connection: sqlite3.Connection, root: str, workspace: str) -> bool:
    """Commit one workspace; False when there is nothing to do."""
    meta = os.path.join(root, workspace, ".meta")
    status = _load(os.path.join(meta, "status.json"))
    if status is None or status["status"] not in FINISHED:
        return False
    marked = _load(os.path.join(meta, "commit.json"))
    if marked and (marked["updated_at"], marked["runs"]) == (status["updated_at"], status["runs"]):
        return False
    committed_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    record = {key: status.get(key, "") for key in _TEXTS} | {
        "workspace": workspace,
        "started_at": status["started_at"],
        "updated_at": status["updated_at"],
        "committed_at": committed_at,
        "issue": status.get("issue", 0),
        "runs": status.get("runs", 0),
    }
    report = _load(os.path.join(meta, "report.json"))
    _append(os.path.join(meta, "journal.jsonl"), record | ({"report": report} if report else {}))
    row = [*record.values(), json.dumps(report) if report else None]
    names = ", ".join([*record, "report"])
    connection.execute(f"INSERT OR IGNORE INTO dispatches ({names}) VALUES ({', '.join('?' * len(row))})", row)
    connection.commit()
    _mark(meta, {key: record[key] for key in ("workspace", "updated_at", "runs", "committed_at")})
    return True


def _load(path: str) -> dict[str, Any] | None:
    try:
        with open(path, encoding="utf-8") as file:
            document: dict[str, Any] = json.load(file)
            return document
    except FileNotFoundError:
        return None


def _append(path: str, record: dict[str, Any]) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record, sort_keys=True, separators=(",", ":")) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _mark(meta: str, marker: dict[str, Any]) -> None:
    temporary = os.path.join(meta, ".commit.json.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(marker, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, os.path.join(meta, "commit.json"))
    directory = os.open(meta, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def workspaces(root: str) -> Iterator[str]:
    """Every `org/repo/task` below the root."""
    for org in os.scandir(root):
        for repo in os.scandir(org.path):
            for task in os.scandir(repo.path):
                yield f"{org.name}/{repo.name}/{task.name}"


def loop(root: str, history: str) -> None:
    """One pass: commit whatever is finished, one after the other."""
    connection = open_history(history)
    for workspace in workspaces(root):
        commit(connection, root, workspace)
    connection.close()


def _commit_and_tell(connection: sqlite3.Connection, root: str, workspace: str) -> None:
    if commit(connection, root, workspace):
        print(f"{workspace}: committed", file=sys.stderr, flush=True)


def _catch_up(connection: sqlite3.Connection, root: str) -> None:
    """Commit what was finished before we watched, then say that we are ready."""
    for workspace in workspaces(root):
        _commit_and_tell(connection, root, workspace)
    address = os.environ.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"READY=1", address)


def _workspace_of(root: str, path: str) -> str:
    return os.path.relpath(os.path.dirname(os.path.dirname(path)), root)


def with_watchdog(root: str, history: str) -> None:
    """A recursive observer on the root that queues what happens to a status file."""
    from watchdog.events import FileClosedEvent, FileMovedEvent, FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    changed: queue.SimpleQueue[str] = queue.SimpleQueue()

    class Handler(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:
            path = os.fsdecode(event.dest_path or event.src_path)
            if event.event_type in ("moved", "closed") and path.endswith("/.meta/status.json"):
                changed.put(path)

    connection = open_history(history)
    observer = Observer()
    # Only what is needed: with all events watchdog 7.1 answers its own looks at directories without end.
    observer.schedule(Handler(), root, recursive=True, event_filter=[FileMovedEvent, FileClosedEvent])
    observer.start()
    _catch_up(connection, root)
    while True:
        _commit_and_tell(connection, root, _workspace_of(root, changed.get()))


def with_watchfiles(root: str, history: str) -> None:
    """`watch()` as its manual shows it. The first timeout tells that the watches are there: its `rust_timeout` is
    200 ms, which is how much too late this one may say that it is ready."""
    from watchfiles import watch

    connection = open_history(history)
    ready = False
    for changes in watch(
        root,
        watch_filter=lambda _, path: path.endswith("/.meta/status.json"),
        yield_on_timeout=True,
        rust_timeout=200,
    ):
        if not ready:
            _catch_up(connection, root)
            ready = True
        for _, path in changes:
            with contextlib.suppress(FileNotFoundError):
                _commit_and_tell(connection, root, _workspace_of(root, path))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    {"loop": loop, "watchdog": with_watchdog, "watchfiles": with_watchfiles}[sys.argv[1]](*sys.argv[2:4])
