"""All workspaces on disk with their status and whether they are committed, from the index or the disk. Reads only."""

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
"""Fields of a status file, simple enough to pass between processes: those of a snapshot from `status` on."""


class WorkspaceSnapshot(NamedTuple):
    """The current state of one workspace.

    `root` is the root's key, `started_at` and `updated_at` are texts of the status file ("" when unknown or unset),
    `next_attempt_at` is in seconds since the epoch. `committed` is None when the history is not available. A failing
    workspace has a `last_error`, and no `status` if that could not be read. A directory that could not be read has a
    `last_error` too; `workspace` is "" for the root itself.
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
        """When this dispatch began, in the history's format; None when unknown."""
        return instant.parse(self.started_at).utc() if self.started_at else None

    @property
    def updated_utc(self) -> str | None:
        """When its status was last written, in the history's format; None when unknown."""
        return instant.parse(self.updated_at).utc() if self.updated_at else None


def facts(status: Status) -> Facts:
    """The fields of a status that are needed here."""
    started_at = "" if status.started_at.is_zero else status.started_at.text
    updated_at = "" if status.updated_at.is_zero else status.updated_at.text
    return status.status, status.agent, status.repo, status.question, status.pid, status.runs, started_at, updated_at


def from_disk(
    candidate: Candidate, state: WorkspaceRow | None, found: Facts, *, committed: bool | None
) -> WorkspaceSnapshot:
    """A snapshot of a workspace that was read from disk; `state` is its row in the index."""
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
    """A snapshot of a workspace unchanged since the index was written; `row` is from workspaces_table.whole."""
    root, workspace, status, agent, repo, question, pid, runs, updated_at, _signature = row
    # A process can end without changing a file, so this is checked each time.
    ghost = is_ghost(status, pid)
    return WorkspaceSnapshot(root, workspace, status, agent, repo, question, pid, runs, "", updated_at, True, ghost)


def broken(candidate: Candidate, state: WorkspaceRow | None, error: str) -> WorkspaceSnapshot:
    """A snapshot of a workspace whose status cannot be read."""
    return WorkspaceSnapshot(
        candidate.root.key,
        candidate.name,
        fail_count=state.fail_count if state else 0,
        next_attempt_at=state.next_attempt_at if state else None,
        last_error=error,
    )


log = logging.getLogger("agentic_watch.survey")

_GROUP = 10_000
"""Workspaces that are read before they are looked up in the history together."""
_ASKED_AT_ONCE = 1_000


def _log(error: HistoryError) -> None:
    log.warning("%s; committed or not is unknown", error)


def workspaces_now(
    config: Config, history: History, on_lost: Callable[[HistoryError], None] = _log
) -> Iterator[WorkspaceSnapshot]:
    """Every workspace of all roots, in directory order. Raises HistoryRefused.

    A workspace with an unchanged signature is taken from the index; others, or all without a history, are read from
    disk. `on_lost` is called once if the history is not available. `history` is opened as needed, and closed at the
    end.
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
    """Queries of the history. After the first failure `on_lost` is called, and no more queries are made.

    A reader may assume an unchanged file only for a short read (opening.open_read_only), and this is long: so each
    query opens the history again.
    """

    def __init__(self, history: History, on_lost: Callable[[HistoryError], None]) -> None:
        self._history: History | None = history
        self._on_lost = on_lost
        self.whole: dict[str, dict[str, tuple[Any, ...]]] = {}
        """Complete rows of the index, by root's key and workspace."""
        self.states: dict[tuple[str, str], WorkspaceRow] = {}
        """The other rows of the index."""
        try:
            for row in workspaces_table.whole(history):
                self.whole.setdefault(row[0], {})[row[1]] = row
            self.states = {(state.root, state.workspace): state for state in workspaces_table.others(history)}
        except HistoryError as error:
            self._lose(error)
        finally:
            history.close()

    def commits(self, root: str, names: Sequence[str]) -> dict[str, set[Key]] | None:
        """The commits of these workspaces, as in commit_lookup.committed; None when the history is not available."""
        if self._history is None:
            return None
        history, found = self._history, dict[str, set[Key]]()
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
    """All workspaces of a root. Raises RootUnavailable."""
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
    """Snapshots of what the scan found, in its order, without those that vanished since."""
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


def _is_committed(name: str, said: Facts, commits: dict[str, set[Key]] | None) -> bool | None:
    if commits is None:
        return None
    rows, (*_, runs, _, updated_at) = commits.get(name), said
    return rows is not None and (instant.parse(updated_at or instant.ZERO_TEXT).utc(), runs) in rows


def _read_all(root: Root, limits: Limits, candidates: Sequence[Candidate]) -> list[Facts | str | None]:
    """For each workspace the fields of its status, the error, or None if it vanished."""
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
