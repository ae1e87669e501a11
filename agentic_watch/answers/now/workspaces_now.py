"""What is on disk now? Every workspace with its status, and what the history knows of it. Reads only.

What stands of one workspace now, and the forms it comes from: the index, the disk, an error.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from agentic_watch.config import Config, Limits, Root
from agentic_watch.history import HistoryError, commit_lookup, workspaces_table
from agentic_watch.history.commit_lookup import Key
from agentic_watch.history.store import History
from agentic_watch.history.workspaces_table import WorkspaceRow
from agentic_watch.host.file_systems import unanswered
from agentic_watch.host.jobs import parallel_map
from agentic_watch.inventory.ghosts import is_ghost, named_at
from agentic_watch.scan import RootUnavailable, ScanError, scan_in_steps
from agentic_watch.workspace import instant, status
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.layout import name_problem
from agentic_watch.workspace.place import Opener
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Missing, WorkspaceError

Facts = tuple[str, str, str, str, int, int, str, str]
"""What a status file says, as plain as a second process can hand it over: a snapshot's fields from `status` on."""


class WorkspaceSnapshot(NamedTuple):
    """What stands of one workspace now.

    `root` is the root's key, `started_at` and `updated_at` are the texts of the status file ("" when not known or
    unset), `next_attempt_at` is in seconds since the epoch. `committed` is None when the history cannot tell. A broken
    one has a `last_error`, and no `status` when that could not be read. A directory that could not be looked into
    stands here with its `last_error` too; `workspace` is "" when it is the root itself.
    """

    root: str
    workspace: str
    status: str = ""
    agent: str = ""
    repo: str = ""
    question: str = ""
    pid: int = 0
    runs: int = 0
    started_at: str = ""
    updated_at: str = ""
    committed: bool | None = False
    ghost: bool = False
    fail_count: int = 0
    next_attempt_at: float | None = None
    last_error: str | None = None

    @property
    def started_utc(self) -> str | None:
        """When this dispatch began, as the history writes it; None when not known."""
        return instant.parse(self.started_at).utc() if self.started_at else None

    @property
    def updated_utc(self) -> str | None:
        """When its status was last written, as the history writes it; None when not known."""
        return instant.parse(self.updated_at).utc() if self.updated_at else None


def facts(status: Status) -> Facts:
    """The part of a status that a survey shows."""
    started_at = "" if status.started_at.is_zero else status.started_at.text
    updated_at = "" if status.updated_at.is_zero else status.updated_at.text
    return status.status, status.agent, status.repo, status.question, status.pid, status.runs, started_at, updated_at


def from_disk(
    candidate: Candidate, state: WorkspaceRow | None, found: Facts, *, committed: bool | None
) -> WorkspaceSnapshot:
    """One that was read just now; `state` is what the index knows of it."""
    return WorkspaceSnapshot(
        candidate.root.key,
        candidate.name,
        *found,
        committed=committed,
        ghost=is_ghost(found[0], found[4], _named_at(found)),
        fail_count=state.fail_count if state else 0,
        next_attempt_at=state.next_attempt_at if state else None,
        last_error=state.last_error if state else None,
    )


def _named_at(found: Facts) -> int | None:
    started_at, updated_at = (instant.parse(text or instant.ZERO_TEXT) for text in found[-2:])
    return named_at(started_at, updated_at)


def from_index(row: tuple[Any, ...]) -> WorkspaceSnapshot:
    """One that is committed and has not changed since; `row` is as workspaces_table.whole has it."""
    root, workspace, status, agent, repo, question, pid, runs, updated_at, _signature = row
    # A process can end without a word in any file: this is asked anew each time.
    ghost = is_ghost(status, pid)
    return WorkspaceSnapshot(root, workspace, status, agent, repo, question, pid, runs, "", updated_at, True, ghost)


def broken(candidate: Candidate, state: WorkspaceRow | None, error: str) -> WorkspaceSnapshot:
    """One whose status cannot be read."""
    return WorkspaceSnapshot(
        candidate.root.key,
        candidate.name,
        fail_count=state.fail_count if state else 0,
        next_attempt_at=state.next_attempt_at if state else None,
        last_error=error,
    )


log = logging.getLogger("agentic_watch.survey")

_GROUP = 10_000
"""So many workspaces are read before the history is asked about them."""
_ASKED_AT_ONCE = 1_000


def _log(error: HistoryError) -> None:
    log.warning("%s; what is committed is not known", error)


def workspaces_now(
    config: Config, history: History, on_lost: Callable[[HistoryError], None] = _log
) -> Iterator[WorkspaceSnapshot]:
    """Every workspace of all roots. Raises HistoryRefused.

    A committed one whose signature the index knows is not read again, any other once, in the order of the directories.
    Without a history all are read. When the history cannot tell what is committed, `on_lost` hears of it, once.
    `history` is opened when asked, and left closed.
    """
    past = _Past(history, on_lost)
    silent = unanswered(root.path for root in config.roots)
    for root in config.roots:
        if root.path in silent:
            yield WorkspaceSnapshot(root.key, "", last_error=f"{silent[root.path]} does not answer")
            continue
        try:
            yield from _look_over(root, past, config.limits)
        except RootUnavailable as error:
            yield WorkspaceSnapshot(root.key, "", last_error=error.cause)


class _Past:
    """What the history tells. Once it cannot, `on_lost` hears of it, and it is not asked again.

    A reader may assume a file at rest for a short look only (opening.open_read_only), and a survey is long:
    so each question opens the history anew.
    """

    def __init__(self, history: History, on_lost: Callable[[HistoryError], None]) -> None:
        self._history: History | None = history
        self._on_lost = on_lost
        self.whole: dict[str, dict[str, tuple[Any, ...]]] = {}
        """By root's key and workspace, the rows of those that the index tells all of."""
        self.states: dict[tuple[str, str], WorkspaceRow] = {}
        """What it tells of others."""
        try:
            for row in workspaces_table.whole(history):
                self.whole.setdefault(row[0], {})[row[1]] = row
            self.states = {(state.root, state.workspace): state for state in workspaces_table.others(history)}
        except HistoryError as error:
            self._lose(error)
        finally:
            history.close()

    def commits(self, root: str, names: Sequence[str]) -> dict[str, dict[Key, str]] | None:
        """What the history holds of these workspaces, as commit_lookup.committed; None when it cannot tell."""
        if self._history is None:
            return None
        history, found = self._history, dict[str, dict[Key, str]]()
        try:
            for start in range(0, len(names), _ASKED_AT_ONCE):
                found |= commit_lookup.committed(history, root, names[start : start + _ASKED_AT_ONCE])
        except HistoryError as error:
            self._lose(error)
            return None
        finally:
            history.close()
        return found

    def _lose(self, error: HistoryError) -> None:
        self._history = None
        self._on_lost(error)


def _look_over(root: Root, past: _Past, limits: Limits) -> Iterator[WorkspaceSnapshot]:
    """What stands of all workspaces of a root. Raises RootUnavailable."""
    whole, unchanged = past.whole.get(root.key, {}), list[str]()
    known = {name: row[-1] for name, row in whole.items()}
    with contextlib.closing(scan_in_steps(root, known, unchanged=unchanged)) as steps:
        changed = (step for step in steps if not isinstance(step, int))
        while group := list(islice(changed, _GROUP)):
            yield from _look(root, group, past, limits)
    for name in unchanged:
        yield from_index(whole[name])


def _look(
    root: Root, group: Sequence[Candidate | ScanError], past: _Past, limits: Limits
) -> Iterator[WorkspaceSnapshot]:
    """What stands of all that the scan found, in its order, but for what has vanished since."""
    unread = [found for found in group if isinstance(found, Candidate)]
    facts = parallel_map(partial(_read_all, root, limits), unread)
    read: dict[str, Facts | str | None] = dict(zip((found.name for found in unread), facts, strict=True))
    commits = past.commits(root.key, [name for name, found in read.items() if isinstance(found, tuple)])
    for found in group:
        if isinstance(found, ScanError):
            yield WorkspaceSnapshot(root.key, found.name, last_error=found.cause)
            continue
        state = past.states.get(found.key)
        if isinstance(said := read[found.name], str):
            yield broken(found, state, said)
        elif said is not None:
            yield from_disk(found, state, said, committed=_is_committed(found.name, said, commits))


def _is_committed(name: str, said: Facts, commits: dict[str, dict[Key, str]] | None) -> bool | None:
    if commits is None:
        return None
    rows, (*_, runs, _, updated_at) = commits.get(name), said
    return rows is not None and (instant.parse(updated_at or instant.ZERO_TEXT).utc(), runs) in rows


def _read_all(root: Root, limits: Limits, candidates: Sequence[Candidate]) -> list[Facts | str | None]:
    """What each status file says, why it cannot be read, or None for one that has vanished."""
    opener = Opener()
    try:
        return [_read(opener, root, limits, found) for found in candidates]
    finally:
        opener.close()


def _read(opener: Opener, root: Root, limits: Limits, candidate: Candidate) -> Facts | str | None:
    if problem := name_problem(candidate.name):
        return problem
    try:
        place = opener.open(root.path, candidate.name)
    except Missing:
        return None
    except WorkspaceError as error:
        return str(error)
    try:
        return facts(status.read(place.directory, place.meta, root, limits).status)
    except Missing:
        return None
    except WorkspaceError as error:
        return str(error)
    finally:
        place.close()
