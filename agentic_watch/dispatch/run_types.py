"""The types of the dispatch API: work, run, end, and errors."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from agentic_watch.config import Root


class Work(NamedTuple):
    """The work of an agent; "" and 0 are unknown.

    `agent` is `base[:model]`. `directory` is its clone, from which git supplies missing org, repo and branch, and where
    changes are counted; "" disables git. `pid` is the process to watch: if it exits before the end is recorded, the run
    is a ghost; 0 for none. `command` is the command line, used as the task if neither this nor an earlier run in the
    workspace has one.
    """

    task: str = ""
    agent: str = ""
    org: str = ""
    repo: str = ""
    branch: str = ""
    issue: int = 0
    pid: int = 0
    process_id: str = ""
    directory: str = ""
    command: str = ""


class Run(NamedTuple):
    """One run in a workspace: `name` is the workspace's path below the root, `runs` counts from 1.

    `started_at` is RFC 3339; `begun`: this call began it (else it was already running). `start_commit` is the commit
    checked out in `directory` at the start, "" if unknown. `problem` is git's error about an unreadable clone, else "".
    """

    root: Root
    name: str
    runs: int
    started_at: str
    begun: bool
    directory: str = ""
    start_commit: str = ""
    problem: str = ""

    @property
    def path(self) -> str:
        """The workspace's directory."""
        return os.path.join(self.root.path, self.name)


class End(NamedTuple):
    """The end of a run. `status` is a finished one (`completed`, `failed`, `blocked`, `ready-for-review`, …).

    `question` is the agent's question or the cause of a failure. `report` replaces `.meta/report.json`; None keeps it.
    `branch` and `pr_url` replace those of the start unless "".
    """

    status: str = "completed"
    question: str = ""
    pr_url: str = ""
    branch: str = ""
    report: dict[str, Any] | None = None


class DispatchError(Exception):
    """A status cannot be written; the text is one line with the workspace, the cause and the next step."""


class Uncommitted(DispatchError):
    """The workspace has a finished dispatch without a marker: overwriting it could lose it.

    `path` is the workspace's directory; `agentic-watch commit PATH` commits it, then begin or finish again.
    """

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what} is not committed yet; agentic-watch commit {path}")
        self.path = path

    def because(self, cause: str) -> DispatchError:
        """The same error, with the cause of a failed commit."""
        return DispatchError(f"{self} ({cause})")


class Overtaken(DispatchError):
    """Another run or dispatch has begun in the workspace since, and is not overwritten."""
