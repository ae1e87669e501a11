"""What is on disk now? Every workspace with its status, and what the history knows of it. Reads only."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from agentic_watch.config import Config, Limits
from agentic_watch.history import workspaces_table
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History
from agentic_watch.history.workspaces_table import State
from agentic_watch.inventory.ghosts import is_ghost
from agentic_watch.scan import RootUnavailable, Trouble, scan
from agentic_watch.workspace import status
from agentic_watch.workspace.layout import Candidate
from agentic_watch.workspace.names import name_problem
from agentic_watch.workspace.place import open_place
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Missing, WorkspaceError

log = logging.getLogger("agentic_watch.survey")


@dataclass(frozen=True, slots=True)
class Standing:
    """What stands of one workspace now.

    `root` is the root's key, `updated_at` the text of the status file, `next_attempt_at` in seconds since the
    epoch. A broken one has a `last_error`, and no `status` when that could not be read. A directory that could
    not be looked into stands here with its `last_error` too; `workspace` is "" when it is the root itself.
    """

    root: str
    workspace: str
    status: str = ""
    agent: str = ""
    repo: str = ""
    question: str = ""
    pid: int = 0
    runs: int = 0
    updated_at: str = ""
    committed: bool = False
    ghost: bool = False
    fail_count: int = 0
    next_attempt_at: float | None = None
    last_error: str | None = None


def workspaces_now(config: Config, history: History) -> Iterator[Standing]:
    """Every workspace of all roots, in the order of the directories. Raises HistoryTooNew.

    One whose signature the index knows is not read again, any other once. Without a history all are read,
    and none counts as committed: that is logged, once. `history` is opened when asked, and left closed.
    """
    past = _Past(history)
    for root in config.roots:
        try:
            for found in scan(root):
                standing = _look(found, past, config.limits)
                if standing is not None:
                    yield standing
        except RootUnavailable as error:
            yield Standing(root.key, "", last_error=error.cause)


class _Past:
    """What the history tells. Once it cannot, that is said, and it is not asked again.

    A reader may assume a file at rest for a short look only (schema.open_read_only), and a survey is long:
    so each question opens the history anew.
    """

    def __init__(self, history: History) -> None:
        self._history: History | None = history
        self._states: dict[tuple[str, str], State] = {}
        try:
            self._states = {(state.root, state.workspace): state for state in workspaces_table.states(history)}
        except HistoryError as error:
            self._lose(error)
        finally:
            history.close()

    def state(self, candidate: Candidate) -> State | None:
        """The index's row."""
        return self._states.get((candidate.root.key, candidate.name))

    def has_committed(self, candidate: Candidate, found: Status) -> bool:
        """Whether the history holds the row of this dispatch."""
        if self._history is None:
            return False
        history = self._history
        try:
            rows = history.committed(candidate.root.key, [candidate.name]).get(candidate.name, {})
        except HistoryError as error:
            self._lose(error)
            return False
        finally:
            history.close()
        return (found.updated_at.utc(), found.runs) in rows

    def _lose(self, error: HistoryError) -> None:
        self._history = None
        log.warning("%s; what is committed is not known", error)


def _look(found: Candidate | Trouble, past: _Past, limits: Limits) -> Standing | None:
    """What stands of one thing that the scan found; None when it has vanished since."""
    if isinstance(found, Trouble):
        return Standing(found.root.key, found.name, last_error=found.cause)
    if problem := name_problem(found.name):
        return Standing(found.root.key, found.name, last_error=problem)
    state = past.state(found)
    if state is not None and not state.fail_count and state.signature and state.signature == found.signature:
        return _from_index(state)
    try:
        read = _read(found, limits)
    except Missing:
        return None
    except WorkspaceError as error:
        return _broken(found, state, str(error))
    return _from_disk(found, state, read, committed=past.has_committed(found, read))


def _read(candidate: Candidate, limits: Limits) -> Status:
    place = open_place(candidate.root.path, candidate.name)
    try:
        return status.read(place.directory, place.meta, candidate.root, limits).status
    finally:
        place.close()


def _from_index(state: State) -> Standing:
    return Standing(
        root=state.root,
        workspace=state.workspace,
        status=state.status,
        agent=state.agent,
        repo=state.repo,
        question=state.question,
        pid=state.pid,
        runs=state.runs,
        updated_at=state.updated_at,
        committed=bool(state.committed),
        # A process can end without a word in any file: this is asked anew each time.
        ghost=is_ghost(state.status, state.pid),
    )


def _from_disk(candidate: Candidate, state: State | None, read: Status, *, committed: bool) -> Standing:
    return Standing(
        root=candidate.root.key,
        workspace=candidate.name,
        status=read.status,
        agent=read.agent,
        repo=read.repo,
        question=read.question,
        pid=read.pid,
        runs=read.runs,
        updated_at=read.updated_at.text,
        committed=committed,
        ghost=is_ghost(read.status, read.pid),
        fail_count=state.fail_count if state else 0,
        next_attempt_at=state.next_attempt_at if state else None,
        last_error=state.last_error if state else None,
    )


def _broken(candidate: Candidate, state: State | None, error: str) -> Standing:
    return Standing(
        candidate.root.key,
        candidate.name,
        fail_count=state.fail_count if state else 0,
        next_attempt_at=state.next_attempt_at if state else None,
        last_error=error,
    )
