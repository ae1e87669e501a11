"""The floor of the machine: the same bytes, written and synced by a bare script; a bare walk of the same tree.

`python -m benchmarks.floors walk ROOT`, `looks ROOT`, `write ROOT HISTORY COUNT THREADS`,
`single ROOT HISTORY COUNT GAP_SECONDS`, `build DIRECTORY FILES SECONDS`. Each prints JSON. What is written is made
before the clock starts.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from agentic_watch.history.columns import HISTORY_COLUMNS
from agentic_watch.host.file_systems import sync_filesystem
from benchmarks import trees

_GROUP = 256
_INSERT = f"INSERT INTO history VALUES ({', '.join('?' * len(HISTORY_COLUMNS))})"


@dataclass(frozen=True, slots=True)
class Bytes:
    """The three records of one commit, ready to write."""

    meta: str
    line: bytes
    marker: bytes
    row: tuple[Any, ...]


def prepare(root: str, count: int) -> list[Bytes]:
    """The records of the first `count` workspaces."""
    prepared = []
    for number in range(count):
        name = trees.name_of(number)
        status = trees.fields(number)
        content = trees.report(number)
        derived = {"root": root, "workspace": name, "committed_at": trees.COMMITTED, "host": "host"}
        derived |= {"model": "gpt-5.3-codex", "started_utc": trees.STARTED, "updated_utc": status["updated_at"]}
        known = {**status, **derived, "report": json.dumps(content) if content else None}
        row = tuple(known.get(column) for column in HISTORY_COLUMNS)
        prepared.append(Bytes(f"{root}/{name}/.meta", trees.journal_line(number), trees.marker(number), row))
    return prepared


def open_history(path: str) -> sqlite3.Connection:
    """One table with the same columns, no index but the identity's."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    unique = "UNIQUE (root, workspace, updated_utc, runs)"
    connection.execute(f"CREATE TABLE IF NOT EXISTS history ({', '.join(HISTORY_COLUMNS)}, {unique})")
    return connection


def append(item: Bytes) -> None:
    """The journal line, its sync, and that of its directory."""
    descriptor = os.open(f"{item.meta}/journal.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(descriptor, item.line)
    os.fsync(descriptor)
    os.close(descriptor)
    _sync(item.meta)


def mark(item: Bytes) -> None:
    """The marker: temporary file, sync, rename, sync of the directory."""
    descriptor = os.open(f"{item.meta}/.marker", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    os.write(descriptor, item.marker)
    os.fsync(descriptor)
    os.close(descriptor)
    os.rename(f"{item.meta}/.marker", f"{item.meta}/commit.json")
    _sync(item.meta)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)


def write(root: str, history: str, count: str, threads: str) -> dict[str, Any]:
    """All records: one by one with 0 threads, else a group's syncs overlapped, or with `syncfs` one for all, and its
    rows in one transaction."""
    items = prepare(root, int(count))
    connection = open_history(history)
    started, busy = time.perf_counter(), time.process_time()
    if threads == "syncfs":
        _together(items, connection, root)
    elif int(threads):
        _overlapped(items, connection, int(threads))
    else:
        for item in items:
            _one(item, connection)
    measured = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - busy}
    connection.close()
    return measured


def _one(item: Bytes, connection: sqlite3.Connection) -> None:
    append(item)
    connection.execute(_INSERT, item.row)
    mark(item)


def _overlapped(items: list[Bytes], connection: sqlite3.Connection, threads: int) -> None:
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(items), _GROUP):
            group = items[start : start + _GROUP]
            list(pool.map(append, group))
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(_INSERT, [item.row for item in group])
            connection.execute("COMMIT")
            list(pool.map(mark, group))


def _together(items: list[Bytes], connection: sqlite3.Connection, root: str) -> None:
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for start in range(0, len(items), _GROUP):
        group = items[start : start + _GROUP]
        for item in group:
            trees.write(f"{item.meta}/journal.jsonl", item.line)
        sync_filesystem(descriptor)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, [item.row for item in group])
        connection.execute("COMMIT")
        for item in group:
            trees.write(f"{item.meta}/.marker", item.marker)
        sync_filesystem(descriptor)
        for item in group:
            os.rename(f"{item.meta}/.marker", f"{item.meta}/commit.json")
        sync_filesystem(descriptor)
    os.close(descriptor)


def single(root: str, history: str, count: str, gap_seconds: str) -> dict[str, Any]:
    """One commit after another, each timed, with the same pause between as the watchers get."""
    connection = open_history(history)
    seconds = []
    for item in prepare(root, int(count)):
        time.sleep(float(gap_seconds))
        started = time.perf_counter()
        _one(item, connection)
        seconds.append(time.perf_counter() - started)
    connection.close()
    return {"seconds": seconds}


def walk(root: str) -> dict[str, Any]:
    """`os.scandir` down to the workspaces, and one stat of each one's status file."""
    started = time.perf_counter()
    found = 0
    for org in os.scandir(root):
        for repo in os.scandir(org.path):
            for task in os.scandir(repo.path):
                os.stat(f"{task.path}/.meta/status.json")
                found += 1
    return {"seconds": time.perf_counter() - started, "found": found}


def looks(root: str) -> dict[str, Any]:
    """The same walk with what a pass has to look at: both status files and the marker."""
    started = time.perf_counter()
    found = 0
    for org in os.scandir(root):
        for repo in os.scandir(org.path):
            directory = os.open(repo.path, os.O_RDONLY | os.O_DIRECTORY)
            for task in os.scandir(directory):
                os.stat(f"{task.name}/.meta/status.json", dir_fd=directory, follow_symlinks=False)
                os.access(f"{task.name}/status.json", os.F_OK, dir_fd=directory, follow_symlinks=False)
                os.stat(f"{task.name}/.meta/commit.json", dir_fd=directory, follow_symlinks=False)
                found += 1
            os.close(directory)
    return {"seconds": time.perf_counter() - started, "found": found}


def build(directory: str, files: str, seconds: str) -> dict[str, Any]:
    """What a build does: so many small files in many directories, spread over so many seconds (0: at once)."""
    started = time.perf_counter()
    pause_until = started
    for number in range(int(files)):
        group, rest = divmod(number, 100)
        if rest == 0:
            os.mkdir(f"{directory}/object-{group}")
            pause_until += 100 * float(seconds) / int(files)
        trees.write(f"{directory}/object-{group}/{rest}.o", b"\x7fELF" * 256)
        if rest == 99 and (pause := pause_until - time.perf_counter()) > 0:
            time.sleep(pause)
    return {"seconds": time.perf_counter() - started}


if __name__ == "__main__":
    cases: dict[str, Callable[..., dict[str, Any]]] = {
        "walk": walk,
        "looks": looks,
        "write": write,
        "single": single,
        "build": build,
    }
    print(json.dumps(cases[sys.argv[1]](*sys.argv[2:])))
