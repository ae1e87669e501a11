"""Workspaces by the thousand, made with bare system calls, and what each one's records should hold."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

STARTED = "2026-04-14T00:00:00Z"
COMMITTED = "2026-11-23T08:00:00Z"
REPORT_EVERY = 4
_FINDING_LINES = (17, 203)


def name_of(number: int) -> str:
    """The workspace's name: `org/repo/task`, a hundred tasks a repository."""
    return f"org-{number // 100 % 10}/repo-{number // 1000}/task-{number}"


def updated_at(number: int, run: int = 1) -> str:
    """A time of its own for each (workspace, run), as a dispatcher writes it."""
    day, second = divmod(number, 86_400)
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    return f"2026-04-{14 + day}T{clock}.{run:09}Z"


def fields(number: int, state: str = "completed", run: int = 1) -> dict[str, Any]:
    """What the status file says."""
    org, repo, _ = name_of(number).split("/")
    return {
        "status": state,
        "agent": "codex:gpt-5.3-codex",
        "repo": repo,
        "org": org,
        "task": f"Round the totals of invoice {number} half to even, and say so in the manual",
        "branch": f"agent/task-{number}-round-the-totals",
        "issue": number,
        "pid": 4_000_000 + number % 1000,
        "process_id": f"process-{number:08}",
        "question": "",
        "pr_url": "",
        "started_at": STARTED,
        "updated_at": updated_at(number, run),
        "runs": run,
    }


def report(number: int) -> dict[str, Any]:
    """A small report with two findings, for every fourth workspace; else {}."""
    if number % REPORT_EVERY:
        return {}
    findings = [
        {
            "tool": "ruff",
            "severity": "warning",
            "file": "src/totals.py",
            "line": line,
            "code": "B008",
            "message": "a call in an argument's default is made once, when the function is",
        }
        for line in _FINDING_LINES
    ]
    return {
        "passed": True,
        "build_passed": True,
        "test_passed": True,
        "findings": findings,
        "changes": {"files_changed": 3, "insertions": 40, "deletions": 7},
    }


def journal_line(number: int, run: int = 1) -> bytes:
    """The journal line of one commit: the bytes that every contestant that is to be compared must write."""
    status = fields(number, run=run)
    del status["pid"]
    record = {**status, "workspace": name_of(number), "committed_at": COMMITTED}
    if content := report(number):
        record |= {"report": content, "findings": content["findings"], "changes": content["changes"]}
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def marker(number: int, run: int = 1) -> bytes:
    """The marker's bytes."""
    document = {"workspace": name_of(number), "updated_at": updated_at(number, run), "runs": run}
    return json.dumps({**document, "committed_at": COMMITTED}, separators=(",", ":")).encode()


def make(root: str, count: int, state: str = "completed", clone_directories: int = 0) -> None:
    """Make `count` workspaces below `root`, with `.meta/status.json` and a `repo/` of so many directories each."""
    os.makedirs(root)
    levels: set[str] = set()
    for number in range(count):
        path = f"{root}/{name_of(number)}"
        level = os.path.dirname(path)
        if level not in levels:
            os.makedirs(level)
            levels.add(level)
        os.mkdir(path)
        os.mkdir(f"{path}/.meta")
        os.mkdir(f"{path}/repo")
        _fill_clone(f"{path}/repo", clone_directories)
        write(f"{path}/.meta/status.json", json.dumps(fields(number, state)).encode())
        if content := report(number):
            write(f"{path}/.meta/report.json", json.dumps(content).encode())


def _fill_clone(clone: str, directories: int) -> None:
    for number in range(directories):
        package, module = divmod(number, 50)
        os.mkdir(f"{clone}/package-{package}" + (f"/module-{module}" if module else ""))


def write(path: str, data: bytes) -> None:
    """Write a new file; not synced."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def stage(root: str, number: int, run: int = 1) -> None:
    """Write the finished status beside the old one, as a dispatcher does before its rename."""
    write(f"{root}/{name_of(number)}/.meta/.status.json.tmp", json.dumps(fields(number, run=run)).encode())


def finish(root: str, number: int) -> None:
    """Put the staged status in place."""
    meta = f"{root}/{name_of(number)}/.meta"
    os.rename(f"{meta}/.status.json.tmp", f"{meta}/status.json")


def journal_bytes(root: str, count: int) -> int:
    """Bytes of all journals; FileNotFoundError when a journal or a marker is missing."""
    total = 0
    for number in range(count):
        meta = f"{root}/{name_of(number)}/.meta"
        os.stat(f"{meta}/commit.json")
        total += os.stat(f"{meta}/journal.jsonl").st_size
    return total


def remove(path: str) -> None:
    """Remove a tree; rm is several times faster than Python on 400,000 directories."""
    remover = shutil.which("rm")
    if remover is None:
        shutil.rmtree(path, ignore_errors=True)
    else:
        subprocess.run([remover, "-rf", "--", path], check=True)
