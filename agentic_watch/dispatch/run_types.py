"""What is dispatched, what a run is, how it ends, and the errors of writing that down."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from agentic_watch.config import Root


class Work(NamedTuple):
    """What an agent is dispatched to do; "" and 0 are unknown.

    `agent` is `base[:model]`. `directory` is the clone it works in: org, repo and branch that are not given are
    found there by git, and the changes are counted there; "" asks git nothing. `pid` is the process whose death
    makes the running dispatch a ghost, 0 for none. `command` is the command line, which stands for the task where
    neither this nor an earlier run in the workspace has one.
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

    `started_at` is RFC 3339, `begun` says that this call began it (else it was running already). `start_commit`
    is what git had checked out in `directory` then, "" when nobody asked. `problem` is what git said of a clone that
    it does not read, "" for nothing.
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
    """How a run ended. `status` is a finished one (`completed`, `failed`, `blocked`, `ready-for-review`, …).

    `question` is what the agent asks, or why it failed. `report` goes into `.meta/report.json`; None leaves what
    is there. `branch` and `pr_url` replace those of the beginning unless they are "".
    """

    status: str = "completed"
    question: str = ""
    pr_url: str = ""
    branch: str = ""
    report: dict[str, Any] | None = None


class DispatchError(Exception):
    """A status cannot be written; the text is one line with the workspace, the cause and the next step."""


class Uncommitted(DispatchError):
    """The workspace holds a finished dispatch that no marker vouches for: writing over it could lose it.

    `path` is the workspace's directory; `agentic-watch commit PATH` commits it, then begin or finish again.
    """

    def __init__(self, path: str, what: str) -> None:
        super().__init__(f"{path}: {what} is not committed yet; agentic-watch commit {path}")
        self.path = path

    def because(self, cause: str) -> DispatchError:
        """The same error, with what a commit that was tried has said."""
        return DispatchError(f"{self} ({cause})")


class Overtaken(DispatchError):
    """Another run, or another dispatch, has begun in the workspace since: this one's end is not written over it."""
