"""Finds which records of a commit exist (marker, row, line) and decides what is missing."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agentic_watch.commit import moved_workspaces
from agentic_watch.commit.journal_search import JournalSearch
from agentic_watch.commit.open_workspace import OpenWorkspace
from agentic_watch.config import Root
from agentic_watch.history import HistoryError, commit_lookup, pruned, workspaces_table
from agentic_watch.history.commit_lookup import ExistingRow, Lookup
from agentic_watch.history.rows import RowBuffer
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
    that identity, under any name the workspace had; `overtaken`: lines of later commits follow; `differs`: row or line
    contradicts the status; `pruned`: a row of this age would have been pruned; `older`: commit ids of such lines whose
    rows are missing.

    `lacking` are the rows that the journal has and the history lacks; `recovered` is their total, of which some may be
    inserted already, unless `history_error` says why not. `unread_journal` is the signature of a journal that was not
    read because the history holds all of it. `is_moved`: some of its rows have another name or root; `is_read_again`:
    later rows in another root or under another name may change the result. `recorded_as` is the workspace name in row,
    line and marker.
    """

    marked: bool = False
    row: str | None = None
    line: str | None = None
    overtaken: bool = False
    differs: bool = False
    pruned: bool = False
    older: tuple[str, ...] = ()
    lacking: RowBuffer = field(default_factory=RowBuffer)
    recovered: int = 0
    history_error: str = ""
    unread_journal: bytes = b""
    is_moved: bool = False
    is_read_again: bool = False
    recorded_as: str = ""


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
    marked_as = _read_marker(workspace, repair=repair) if workspace.finished else None
    if marked_as is not None and marked_as.identity != workspace.identity:
        marked_as = None
    if marked_as is not None:
        # Before the journal is read, because its lines may have other names: the row found here tells whose they are.
        known = _with_row_of_marker(known, workspace, marked_as, history)
    search = JournalSearch(workspace, history, known.row, error=known.error)
    marked = marked_as is not None and marked_as.workspace in search.names
    if _must_read_journal(workspace, known, marked=marked):
        yield from search.read(repair=repair)
        known = known._replace(journal=b"")
    return _judge(workspace, known, marked_as, search, history)


def _judge(
    workspace: OpenWorkspace, known: HistoryState, marked_as: Marker | None, search: JournalSearch, history: History
) -> CommitState:
    """Combine marker, row and lines; those under another name count if they belong to this dispatch."""
    name = workspace.candidate.name
    known = known._replace(row=search.row, error=search.error)
    if marked_as is not None and (marked_as.workspace, marked_as.committed_at) in search.other_lines:
        marked_as = None  # copied with the directory, whose own dispatch has the same time and run
    if marked_as is not None:  # reading the journal may have recovered its row
        known = _with_row_of_marker(known, workspace, marked_as, history)
    row, error = known.row, known.error
    has_row = row is not None and row.is_dispatch
    line, moved_line = search.line, search.moved_line
    is_old = _is_pruned(workspace, known.pruned_before, line or moved_line or marked_as)
    recorded_as = row.workspace if row is not None and has_row else name
    if line is None and moved_line is not None and (has_row or error or is_old or search.recovers_moved_line):
        line = moved_line
        recorded_as = row.workspace if row is not None and has_row else moved_line.workspace
    is_elsewhere = row is not None and has_row and moved_workspaces.is_elsewhere(row, workspace.candidate)
    names = {name, recorded_as} | ({moved_line.workspace} if moved_line is not None else set())
    is_vouched_for = is_elsewhere or is_old or (marked_as is not None and marked_as.workspace in names)
    return CommitState(
        marked=marked_as is not None and is_vouched_for,
        row=row.committed_at if row is not None else None,
        line=line.committed_at if line is not None else None,
        overtaken=search.overtaken,
        differs=(line is not None and search.says_otherwise(line)) or (row is not None and not row.is_same),
        pruned=is_old,
        older=tuple(search.older),
        lacking=search.lacking,
        recovered=search.recovered,
        history_error=error,
        unread_journal=known.journal,
        is_moved=search.is_moved,
        is_read_again=search.is_read_again or (row is not None and row.root != workspace.candidate.root.key),
        recorded_as=recorded_as,
    )


def _with_row_of_marker(
    known: HistoryState, workspace: OpenWorkspace, marked_as: Marker, history: History
) -> HistoryState:
    """Add the row under the name in the marker, if no row is known, and record its new place."""
    assert workspace.status is not None
    if known.error or (known.row is not None and known.row.is_dispatch):
        return known
    try:
        row = moved_workspaces.row_told(workspace.candidate, workspace.status, {marked_as.workspace}, history)
        if row is not None:
            moved_workspaces.record_place([row], workspace, history)
    except HistoryError as failure:
        return known._replace(error=str(failure))
    return known._replace(row=row or known.row)


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
