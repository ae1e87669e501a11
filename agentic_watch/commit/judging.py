"""What is there of one commit, in the history, the marker and the journal, and what is therefore missing."""

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
    """What the history holds of one workspace, or in `error` why it cannot tell.

    `row` is that of the status's identity; `journal` is the journal's signature when all of it was in the history.
    What is older than `pruned_before` is taken for done.
    """

    row: ExistingRow | None = None
    journal: bytes = b""
    pruned_before: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class CommitState:
    """What is there of the commit that a status asks for.

    `marked`: the marker has its identity. `row`, `line`: the committed_at of the history row and of the journal line
    with it, under whatever name the workspace had then; `overtaken`: later commits have lines after it; `differs`: row
    or line says otherwise than the status; `pruned`: a row of this time would have been pruned; `older` are the lines
    that the history lacks and of which that is true, by commit id.
    `lacking` are the rows that the journal has and the history lacks; of all `recovered` ones some may be inserted
    already, unless `history_error` says why not. `unread_journal` is the signature of a journal that was not read,
    since the history holds all of it; `is_moved`: some of its rows are of another name or root, `is_read_again`: what
    the history has in another root, or gets under another name, may change what there is to do.
    `recorded_as` is the workspace that row, line and marker name.
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
    """What the history holds of each of these workspaces, in their order."""
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
    """Look for marker, row and line. With `repair` an unreadable marker is moved aside; without, nothing is changed.

    Gives way now and then while a long journal is read: who has others to serve goes on with it later.
    Raises WorkspaceError.
    """
    marked_as = _read_marker(workspace, repair=repair) if workspace.finished else None
    if marked_as is not None and marked_as.identity != workspace.identity:
        marked_as = None
    if marked_as is not None:
        # Before its journal is read, whose lines may bear other names: they are of the row that is here by now.
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
    """What marker, row and lines say together: those of another name count when they are of this dispatch."""
    name = workspace.candidate.name
    known = known._replace(row=search.row, error=search.error)
    if marked_as is not None and (marked_as.workspace, marked_as.committed_at) in search.other_lines:
        marked_as = None  # it came with a copy, whose own dispatch has the time and the run of the original's
    if marked_as is not None:  # the journal may have brought its row back
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
    """With the row of this dispatch under the name in its marker, when none is known; its place is noted."""
    assert workspace.status is not None
    if known.error or (known.row is not None and known.row.is_dispatch):
        return known
    try:
        row = moved_workspaces.row_told(workspace.candidate, workspace.status, {marked_as.workspace}, history)
        if row is not None:
            moved_workspaces.record_place([row], workspace.candidate, history, workspace.config)
    except HistoryError as failure:
        return known._replace(error=str(failure))
    return known._replace(row=row or known.row)


def _is_pruned(workspace: OpenWorkspace, pruned_before: str, told: Record | Marker | None) -> bool:
    """Whether the row of this commit would have been pruned; `told` is its line or its marker."""
    if workspace.status is None or not pruned_before:
        return False
    committed_at = _utc(told.committed_at) if told is not None else ""
    return pruned.is_pruned(workspace.status.updated_at.utc(), committed_at, pruned_before)


def _utc(text: str) -> str:
    """A marker's committed_at may be any text: what is no time is not known."""
    try:
        return instant.parse(text).utc()
    except ValueError:
        return ""


def _must_read_journal(workspace: OpenWorkspace, known: HistoryState, *, marked: bool) -> bool:
    if workspace.place.lacks(layout.JOURNAL):
        return False
    if not known.journal or known.journal != signatures.at(workspace.meta, layout.JOURNAL):
        return True
    # A journal that has not changed since all of it was in the history holds no identity that the
    # history lacks, but those whose rows were pruned; one that the history has may still be missing from a journal
    # made anew.
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
        return f"left there ({error.cause})"  # what is only readable may still have rows to give


class Plan(NamedTuple):
    """What is missing for one commit."""

    append: bool
    insert: bool
    mark: bool
    committed_at: str

    @property
    def nothing(self) -> bool:
        """Whether nothing is to be written."""
        return not (self.append or self.insert or self.mark)

    @property
    def is_new(self) -> bool:
        """Whether a line or a row is made: only then something is committed. A row that a marked line brings back is
        recovered."""
        return self.append or (self.insert and self.mark)


def decide(
    marked: bool, row: str | None, line: str | None, now: str, *, differs: bool = False, pruned: bool = False
) -> Plan:
    """Say what is missing, given what is there. Pure.

    `marked`: the marker has this identity. `row`, `line`: the committed_at of the history row and of the
    journal line with this identity, None when there is none (or the history cannot tell). A marker that
    neither confirms counts as none: an agent can forge it. `differs`: the status says otherwise than the row or line
    of its own identity; then it is not recorded a second time. `pruned`: a row of its age would have been pruned; then
    a marker or a line alone says that it is done.
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
