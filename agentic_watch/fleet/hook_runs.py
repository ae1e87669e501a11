"""`[[hooks]]`: a command of the operator's for each commit with one of some statuses, at most once a commit.

The commit is on its standard input as one interchange object. Never a shell; little environment; a time limit. That it
begins is noted before it begins: a pusher that is killed meanwhile does not run it again, but says "end unknown".
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agentic_watch.config import Hook
from agentic_watch.fleet import interchange, outbox
from agentic_watch.fleet.fleet_errors import one_line
from agentic_watch.fleet.interchange import Commit
from agentic_watch.fleet.office import Office
from agentic_watch.fleet.outbox import Largest
from agentic_watch.history import queries
from agentic_watch.workspace import instant

log = logging.getLogger("agentic_watch.hooks")

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
NEWNESS_SECONDS = 3600
"""A hook is not run for what was committed longer than this before it was first seen here: no flood of old failures."""

_MARKER_SECONDS = 30
_SAID_BYTES = 500
_LARGEST = Largest(100, 8 * 1024 * 1024)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run of a hook ended."""

    hook: str
    workspace: str
    commit_id: str
    outcome: str
    succeeded: bool


def run_due(hook: Hook, office: Office, is_ending: Callable[[], bool] = lambda: False) -> list[Outcome]:
    """Run a hook for every commit that is due, in order, until `is_ending`. Raises HistoryError and StateError."""
    whose = outbox.identity(office.history)
    last, since = office.state.hook_position(hook.key, whose)
    oldest = instant.parse(since).ns - NEWNESS_SECONDS * 10**9
    outcomes: list[Outcome] = []
    is_last = False
    while not is_last:
        batch = outbox.next_batch(office.history, last, _LARGEST, hook.on)
        for commit in batch.commits:
            if is_ending() or not _is_marked(commit, office.history):
                return outcomes
            if _committed_ns(commit) >= oldest:
                outcomes += _run_once(hook, commit, office)
            office.state.hook_reached(hook.key, commit.id)
        if batch.last_id > last:
            office.state.hook_reached(hook.key, batch.last_id)
        last, is_last = batch.last_id, batch.is_last
    return outcomes


def _run_once(hook: Hook, commit: Commit, office: Office) -> list[Outcome]:
    workspace = commit.columns["workspace"]
    if not office.state.hook_begins(hook.key, commit.commit_id, workspace):
        return []
    text = interchange.line(interchange.document(commit, office.sender.host_id))
    outcome = _run(hook.command, f"{text}\n".encode(), hook.timeout_seconds)
    office.state.hook_ended(hook.key, commit.commit_id, outcome)
    succeeded = outcome == "exit 0"
    log.log(logging.INFO if succeeded else logging.WARNING, "hook %s: %s: %s", hook.key, workspace, outcome)
    return [Outcome(hook.key, workspace, commit.commit_id, outcome, succeeded)]


def _run(command: Sequence[str], record: bytes, seconds: float) -> str:
    """Run a command with a record on its standard input; gives how it ended."""
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(  # noqa: S603  an operator's own words, and no shell
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return f"cannot be started: {one_line(getattr(error, 'strerror', None) or error)}"
        try:
            process.communicate(record, seconds)
        except subprocess.TimeoutExpired:
            return f"killed after {seconds:g} s"
        finally:
            # Whatever it started and left behind goes with it.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
        return _ending(process.returncode, _last_words(said.fileno()))


def _ending(code: int, words: str) -> str:
    ending = f"exit {code}" if code >= 0 else f"killed by signal {-code}"
    return f"{ending}: {words}" if code and words else ending


def _last_words(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return one_line(os.pread(descriptor, _SAID_BYTES, max(0, size - _SAID_BYTES)).decode("utf-8", "replace"))


def _is_marked(commit: Commit, history: str) -> bool:
    """Whether the marker is written, too: the row comes before it. After a while it does not matter any more."""
    if time.time() - _committed_ns(commit) / 10**9 >= _MARKER_SECONDS:
        return True
    sql = "SELECT 1 FROM workspaces WHERE root = ? AND workspace = ? AND committed"
    with queries.reading(history) as connection:
        found = connection.execute(sql, (commit.columns["root"], commit.columns["workspace"])).fetchone()
    return found is not None


def _committed_ns(commit: Commit) -> int:
    return instant.parse(commit.columns["committed_at"]).ns
