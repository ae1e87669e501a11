"""`[[hooks]]`: runs an operator's command for each commit with certain statuses.

The commit is on stdin as one interchange object, its id in $AGENTIC_WATCH_COMMIT_ID. No shell, a minimal environment, a
time limit. A failed run is retried a few times. Its start is recorded first: if the pusher is killed meanwhile, the run
is not repeated but reported as "end unknown".
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agentic_watch.config import Hook
from agentic_watch.fleet import interchange, outbox
from agentic_watch.fleet.interchange import Commit
from agentic_watch.fleet.one_push import PushContext
from agentic_watch.fleet.outbox import Largest
from agentic_watch.fleet.target_interface import one_line
from agentic_watch.history import opening
from agentic_watch.host import processes
from agentic_watch.workspace import instant
from agentic_watch.workspace.ghost_record import is_ghost_record

log = logging.getLogger("agentic_watch.hooks")

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
NEWNESS_SECONDS = 3600
"""A new hook is not run for commits older than this, to avoid a flood of old failures."""

AGAIN_AFTER_SECONDS = (60, 300, 900)
"""Pauses before a failed run is retried; the notified system may be down for a while."""

_MARKER_SECONDS = 30
_SAID_BYTES = 500
_PIPE_BYTES = 65_536
_POLL_MS = 50
_LARGEST = Largest(100, 8 * 1024 * 1024)


@dataclass(frozen=True, slots=True)
class HookOutcome:
    """How one run of a hook ended."""

    hook: str
    workspace: str
    commit_id: str
    outcome: str
    succeeded: bool


def run_due(hook: Hook, context: PushContext, is_ending: Callable[[], bool] = lambda: False) -> list[HookOutcome]:
    """Run a hook for every commit that is due, in order, until `is_ending`. Raises HistoryError and StateError."""
    outcomes = _run_again(hook, context, is_ending)
    whose = outbox.identity(context.history)
    position, since = context.state.hook_position(hook.key, whose)
    last = outbox.confirmed(context.history, position)
    oldest = instant.parse(since).ns - NEWNESS_SECONDS * 10**9
    is_last = False
    while not is_last:
        batch = outbox.next_batch(context.history, last, _LARGEST, hook.on)
        for commit in batch.commits:
            if is_ending() or not _is_marked(commit, context.history):
                return outcomes
            if _committed_ns(commit) >= oldest:
                outcomes += _run_once(hook, commit, context)
            context.state.hook_reached(hook.key, outbox.position_of(commit))
        if batch.last.id > last:
            context.state.hook_reached(hook.key, batch.last)
        last, is_last = batch.last.id, batch.is_last
    return outcomes


def _run_again(hook: Hook, context: PushContext, is_ending: Callable[[], bool]) -> list[HookOutcome]:
    """Retry failed runs that are due; give up if the history no longer has the commit."""
    outcomes = []
    for commit_id, workspace, attempts in context.state.hooks_due(hook.key):
        if is_ending():
            break
        commit = outbox.by_commit_id(context.history, workspace, commit_id)
        if context.state.hook_begins_again(hook.key, commit_id):
            if commit is None:
                context.state.hook_ended(hook.key, commit_id, f"{workspace} is no longer in the history")
            else:
                outcomes.append(_run_noted(hook, commit, context, attempts))
    return outcomes


def _run_once(hook: Hook, commit: Commit, context: PushContext) -> list[HookOutcome]:
    if not context.state.hook_begins(hook.key, commit.commit_id, commit.columns["workspace"]):
        return []
    return [_run_noted(hook, commit, context, 0)]


def _run_noted(hook: Hook, commit: Commit, context: PushContext, before: int) -> HookOutcome:
    """Run the hook and store its outcome; `before` is the number of earlier attempts."""
    workspace = commit.columns["workspace"]
    text = interchange.line(interchange.document(commit, context.sender.host_id))
    environment = {**ENVIRONMENT, "AGENTIC_WATCH_COMMIT_ID": commit.commit_id}
    outcome = _run(hook.command, f"{text}\n".encode(), environment, hook.timeout_seconds)
    succeeded = outcome == "exit 0"
    again = None if succeeded or before >= len(AGAIN_AFTER_SECONDS) else AGAIN_AFTER_SECONDS[before]
    context.state.hook_ended(
        hook.key, commit.commit_id, outcome, instant.now_text(time.time() + again) if again is not None else None
    )
    end = "" if succeeded else f"; tried again in {again} s" if again is not None else "; given up"
    log.log(logging.INFO if succeeded else logging.WARNING, "hook %s: %s: %s%s", hook.key, workspace, outcome, end)
    return HookOutcome(hook.key, workspace, commit.commit_id, outcome, succeeded)


def _run(command: Sequence[str], record: bytes, environment: Mapping[str, str], seconds: float) -> str:
    """Run a command with a record on stdin; returns its outcome. Its child processes are ended with it."""
    with processes.none_left(), _LastWords() as said:
        try:
            process = subprocess.Popen(  # noqa: S603  an operator's own words, and no shell
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said.writing,
                env=environment,
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
            # Ends its remaining child processes.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
        return _ending(process.returncode, said.text())


class _LastWords:
    """A pipe for a command's stderr that keeps only the last bytes."""

    def __init__(self) -> None:
        self._reading, self.writing = os.pipe()
        self._ended = threading.Event()
        self._kept = b""
        self._reader = threading.Thread(target=self._read, name="stderr of a hook", daemon=True)

    def __enter__(self) -> _LastWords:
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        os.close(self._reading)
        os.close(self.writing)

    def text(self) -> str:
        """The last output, as one line."""
        self._end()
        return one_line(self._kept.decode("utf-8", "replace"))

    def _end(self) -> None:
        self._ended.set()
        self._reader.join()

    def _read(self) -> None:
        """Read until the command has ended and the pipe is empty; an unkillable child may keep the pipe open."""
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        while poll.poll(0 if self._ended.is_set() else _POLL_MS) or not self._ended.is_set():
            if poll.poll(0):
                self._kept = (self._kept + os.read(self._reading, _PIPE_BYTES))[-_SAID_BYTES:]


def _ending(code: int, words: str) -> str:
    ending = f"exit {code}" if code >= 0 else f"killed by signal {-code}"
    return f"{ending}: {words}" if code and words else ending


def _is_marked(commit: Commit, history: str) -> bool:
    """Whether the marker is written, which follows the row; true anyway after a while."""
    if time.time() - _committed_ns(commit) / 10**9 >= _MARKER_SECONDS:
        return True
    if is_ghost_record(commit.columns["status"], commit.columns["question"]):
        return True  # it never gets a marker
    sql = "SELECT 1 FROM workspaces WHERE root = ? AND workspace = ? AND committed"
    with opening.reading(history) as connection:
        found = connection.execute(sql, (commit.columns["root"], commit.columns["workspace"])).fetchone()
    return found is not None


def _committed_ns(commit: Commit) -> int:
    return instant.parse(commit.columns["committed_at"]).ns
