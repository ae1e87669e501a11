"""Finds which records of a commit exist (marker, row, line) and decides what is missing."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agentic_watch.commit import moved_workspaces
from agentic_watch.commit.journal_search import JournalSearch, JournalState
from agentic_watch.commit.open_workspace import OpenWorkspace
from agentic_watch.config import Root
from agentic_watch.history import HistoryError, commit_lookup, pruned, workspaces_table
from agentic_watch.history.commit_lookup import ExistingRow, Lookup
from agentic_watch.history.store import History
from agentic_watch.workspace import instant, layout, marker, signatures
from agentic_watch.workspace.marker import Marker
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.workspace_errors import Malformed, WorkspaceError


class HistoryState(NamedTuple):
    """What the history holds of one workspace, or in `error` why it could not be read.

    `row` is the row with the status's identity; `journal` is the journal's signature when the history held all of it.
    Dispatches older than `pruned_before` count as recorded.
    """

    row: ExistingRow | None = None
    journal: bytes = b""
    pruned_before: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class CommitState:
    """Which records of the status's commit exist.

    `marked`: the marker has its identity. `row`, `line`: committed_at of the history row and of the journal line with
    that identity, under any name the workspace had; `recorded_name` is the one for those that are missing. `differs`:
    row or line contradicts the status; `pruned`: a row of this age would have been pruned. `journal` is what else the
    journal tells.
    """

    marked: bool = False
    row: str | None = None
    line: str | None = None
    recorded_name: str = ""
    differs: bool = False
    pruned: bool = False
    journal: JournalState = field(default_factory=JournalState)


def look_up(workspaces: Sequence[OpenWorkspace], history: History) -> list[HistoryState]:
    """What the history holds of each workspace, in the same order."""
    by_root: dict[Root, list[OpenWorkspace]] = {}
    for workspace in workspaces:
        by_root.setdefault(workspace.candidate.root, []).append(workspace)
    found: dict[tuple[Root, str], HistoryState] = {}
    for root, here in by_root.items():
        asked: list[Lookup] = []
        with_journal: list[str] = []
        for workspace in here:
            if workspace.status is not None:
                asked.append(commit_lookup.lookup_of(workspace.candidate.name, workspace.status))
            if not workspace.place.lacks(layout.JOURNAL):
                with_journal.append(workspace.candidate.name)
        error = ""
        try:
            rows, pruned_before = commit_lookup.held(history, root, asked)
            journals = workspaces_table.journal_signatures(history, root.key, with_journal) if with_journal else {}
        except HistoryError as failure:
            rows, pruned_before, journals, error = {}, "", {}, str(failure)
        for workspace in here:
            name = workspace.candidate.name
            found[root, name] = HistoryState(rows.get(name), journals.get(name, b""), pruned_before, error)
    return [found[workspace.candidate.root, workspace.candidate.name] for workspace in workspaces]


def find(
    workspace: OpenWorkspace, known: HistoryState, history: History, *, repair: bool
) -> Generator[None, None, CommitState]:
    """Find marker, row and line. With `repair` an unreadable marker is moved aside; otherwise nothing is changed.

    Yields now and then while a long journal is read, so that the caller may continue it later. Raises WorkspaceError.
    """
    search = JournalSearch(workspace, history, known.row, known.error)
    marked_as = _read_marker(workspace, repair=repair) if workspace.finished else None
    if marked_as is not None and marked_as.identity != workspace.identity:
        search.found.is_overtaken = marked_as.identity == workspace.replaced_by
        marked_as = None
    if marked_as is not None:
        # Before the journal is read, because its lines may have other names: the row found here tells whose they are.
        search.look_up_row(marked_as.workspace)
    marked = marked_as is not None and marked_as.workspace in search.names
    if _must_read_journal(workspace, known, marked=marked):
        yield from search.read(repair=repair)
        if marked_as is not None and (marked_as.workspace, marked_as.committed_at) in search.copied:
            marked_as = None  # copied with the directory, whose own dispatch has the same time and run
        if marked_as is not None:
            search.look_up_row(marked_as.workspace)  # which may be a recovered one
    else:
        search.found.unread = known.journal
    return _judge(workspace, known.pruned_before, marked_as, search)


def _judge(
    workspace: OpenWorkspace, pruned_before: str, marked_as: Marker | None, search: JournalSearch
) -> CommitState:
    """Combine marker, row and lines.

    The status's line under another name counts if the history has a row of its dispatch, cannot tell, would have pruned
    it, or gets it from this line now; otherwise an agent may have written it. Without a line, a marker under another
    name counts as one while the history cannot tell. What is missing gets the name in row or line, so that all records
    of a dispatch have one name. The marker counts if it has one of these names, or if it is certain that the dispatch
    was recorded under some other one.
    """
    name, found, row, line = workspace.candidate.name, search.found, search.row, search.line
    of_dispatch = row if row is not None and row.is_dispatch else None
    is_old = _is_pruned(workspace, pruned_before, line or search.moved_line or marked_as)
    if line is None and (of_dispatch is not None or found.error or is_old or search.recovers_moved_line):
        line = search.moved_line
    told: Record | Marker | None = line
    if told is None and found.error and marked_as is not None and _names_another(marked_as, workspace):
        told = marked_as
    recorded = of_dispatch or told
    recorded_name = recorded.workspace if recorded is not None else name
    is_elsewhere = of_dispatch is not None and moved_workspaces.is_elsewhere(of_dispatch, workspace.candidate)
    names = {name, recorded_name, *([told.workspace] if told is not None else [])}
    found.is_read_again |= row is not None and row.root != workspace.candidate.root.key
    return CommitState(
        marked=marked_as is not None and (is_elsewhere or is_old or marked_as.workspace in names),
        row=row.committed_at if row is not None else None,
        line=told.committed_at if told is not None else None,
        recorded_name=recorded_name,
        differs=(line is not None and search.says_otherwise(line)) or (row is not None and not row.is_same),
        pruned=is_old,
        journal=found,
    )


def _names_another(marked_as: Marker, workspace: OpenWorkspace) -> bool:
    name, max_depth = workspace.candidate.name, workspace.candidate.root.max_depth
    return marked_as.workspace != name and moved_workspaces.can_be_name(marked_as.workspace, max_depth)


def _is_pruned(workspace: OpenWorkspace, pruned_before: str, told: Record | Marker | None) -> bool:
    """Whether the row of this commit would have been pruned; `told` is its line or marker."""
    if workspace.status is None or not pruned_before:
        return False
    committed_at = _utc(told.committed_at) if told is not None else ""
    return pruned.is_pruned(workspace.status.updated_at.utc(), committed_at, pruned_before)


def _utc(text: str) -> str:
    """A marker's committed_at in UTC; "" when it is not a valid time, since a marker may hold any text."""
    try:
        return instant.parse(text).utc()
    except ValueError:
        return ""


def _must_read_journal(workspace: OpenWorkspace, known: HistoryState, *, marked: bool) -> bool:
    if workspace.place.lacks(layout.JOURNAL):
        return False
    if not known.journal or known.journal != signatures.at(workspace.meta, layout.JOURNAL):
        return True
    # If the journal has not changed since the history held all of it, only pruned rows are missing. A row may still
    # have no line, if the journal was recreated.
    if marked or not workspace.finished or workspace.status is None:
        return False
    return known.row is not None or workspace.status.updated_at.utc() < known.pruned_before


def _read_marker(workspace: OpenWorkspace, *, repair: bool) -> Marker | None:
    if workspace.place.lacks(layout.MARKER):
        return None
    try:
        return marker.read(workspace.meta)
    except Malformed as error:
        if repair:
            workspace.warnings.append(f"{error}; {_set_marker_aside(workspace.meta)}")
        return None


def _set_marker_aside(meta: int) -> str:
    try:
        return f"moved to {marker.set_aside(meta)}"
    except WorkspaceError as error:
        return f"left there ({error.cause})"  # a read-only workspace may still have rows to recover


class Plan(NamedTuple):
    """The records to write for one commit."""

    append: bool
    insert: bool
    mark: bool
    committed_at: str

    @property
    def nothing(self) -> bool:
        """Whether nothing has to be written."""
        return not (self.append or self.insert or self.mark)

    @property
    def is_new(self) -> bool:
        """Whether this is a new commit. A row made from a line that was already marked is a recovery."""
        return self.append or (self.insert and self.mark)


def decide(
    marked: bool, row: str | None, line: str | None, now: str, *, differs: bool = False, pruned: bool = False
) -> Plan:
    """Decide what is missing. A pure function.

    `marked`: the marker has this identity. `row`, `line`: committed_at of the history row and of the journal line with
    this identity, None when there is none (or the history is not available). A marker that neither confirms is ignored:
    an agent can forge it. `differs`: the status contradicts the row or line of its own identity; then it is not
    recorded again. `pruned`: a row of its age would have been pruned; then a marker or a line alone proves the commit.
    """
    if pruned and row is None and (marked or line is not None):
        return Plan(append=False, insert=False, mark=False, committed_at=line or "")
    if marked and row is not None:
        return Plan(append=False, insert=False, mark=False, committed_at=row)
    if marked and line is not None:
        return Plan(append=False, insert=True, mark=False, committed_at=line)
    if differs and row is not None and line is None:
        return Plan(append=False, insert=False, mark=False, committed_at=row)
    return Plan(append=line is None, insert=row is None, mark=True, committed_at=line or row or now)
