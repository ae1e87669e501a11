"""What is there of one commit: in the history, in the marker, in the journal."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from agentic_watch.commit.insertion import HeldRows
from agentic_watch.commit.journal_reading import JournalReading
from agentic_watch.commit.open_workspace import OpenWorkspace
from agentic_watch.history import identities, pruned, workspaces_table
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.identities import Asked, Held
from agentic_watch.history.store import History
from agentic_watch.workspace import layout, marker, signatures
from agentic_watch.workspace.marker import Marker
from agentic_watch.workspace.workspace_errors import Malformed, WorkspaceError


class Known(NamedTuple):
    """What the history holds of one workspace, or in `error` why it cannot tell.

    `row` is that of the status's identity; `journal` is the journal's signature when all of it was in the history.
    What is older than `pruned_before` is taken for done.
    """

    row: Held | None = None
    journal: bytes = b""
    pruned_before: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What is there of the commit that a status asks for.

    `marked`: the marker has its identity. `row`, `line`: the committed_at of the history row and of the journal line
    with it; `overtaken`: later commits have lines after it; `differs`: row or line says otherwise than the status;
    `pruned`: a row of this time would have been pruned; `older` are the lines of which that is true, by commit id.
    `lacking` are the rows that the journal has and the
    history lacks; of all `recovered` ones some may be inserted already, unless `history_error` says why not.
    `unread_journal` is the signature of a journal that was not read, since the history holds all of it.
    """

    marked: bool = False
    row: str | None = None
    line: str | None = None
    overtaken: bool = False
    differs: bool = False
    pruned: bool = False
    older: tuple[str, ...] = ()
    lacking: HeldRows = field(default_factory=HeldRows)
    recovered: int = 0
    history_error: str = ""
    unread_journal: bytes = b""


def look_up(workspaces: Sequence[OpenWorkspace], history: History) -> list[Known]:
    """What the history holds of each of these workspaces, in their order."""
    found: dict[str, Known] = {}
    for root in {workspace.candidate.root.key for workspace in workspaces}:
        here = [workspace for workspace in workspaces if workspace.candidate.root.key == root]
        names = [workspace.candidate.name for workspace in here]
        with_journal = [w.candidate.name for w in here if not w.place.lacks(layout.JOURNAL)]
        asked = [one for workspace in here if (one := _asked(workspace)) is not None]
        try:
            rows = identities.held(history, root, asked) if asked else {}
            pruned_before = identities.pruned_before(history)
            journals = workspaces_table.journal_signatures(history, root, with_journal) if with_journal else {}
        except HistoryError as error:
            found |= {f"{root}\0{name}": Known(error=str(error)) for name in names}
            continue
        found |= {f"{root}\0{name}": Known(rows.get(name), journals.get(name, b""), pruned_before) for name in names}
    return [found[f"{workspace.candidate.root.key}\0{workspace.candidate.name}"] for workspace in workspaces]


def _asked(workspace: OpenWorkspace) -> Asked | None:
    status = workspace.status
    if status is None:
        return None
    utc = status.updated_at.utc()
    return Asked(workspace.candidate.name, utc, status.runs, status.status, status.task, status.question)


def find(workspace: OpenWorkspace, known: Known, history: History, *, repair: bool) -> Generator[None, None, Found]:
    """Look for marker, row and line. With `repair` an unreadable marker is moved aside; without, nothing is changed.

    Gives way now and then while a long journal is read (patience.py). Raises WorkspaceError.
    """
    names = {workspace.candidate.name, known.row.workspace if known.row is not None else workspace.candidate.name}
    marker_of = _read_marker(workspace, repair=repair) if workspace.finished else None
    marked = marker_of is not None and marker_of.workspace in names and marker_of.identity == workspace.identity
    marked_at = marker_of.committed_at if marker_of is not None and marked else ""
    asked = _asked(workspace)
    may_be_pruned = asked is not None and asked.updated_utc < known.pruned_before
    if not _must_read_journal(workspace, known, marked=marked, pruned=may_be_pruned):
        return Found(
            marked=marked,
            row=known.row.committed_at if known.row is not None else None,
            differs=known.row is not None and not known.row.is_same,
            pruned=_is_pruned(asked, marked_at, known),
            unread_journal=known.journal,
        )
    reading = JournalReading(
        workspace,
        history,
        error=known.error,
        row_of=known.row.workspace if known.row is not None else "",
    )
    yield from reading.read(repair=repair)
    row = known.row
    if reading.former:
        row = row or _row_of(asked, reading.former, workspace.candidate.root.key, history)
        marked = (
            marker_of is not None
            and marker_of.workspace in {*names, reading.former}
            and marker_of.identity == workspace.identity
        )
    return Found(
        marked=marked,
        row=row.committed_at if row is not None else None,
        line=reading.line,
        overtaken=reading.overtaken,
        differs=(row is not None and not row.is_same) or reading.differs,
        pruned=_is_pruned(asked, reading.line or marked_at, known),
        older=tuple(reading.older),
        lacking=reading.lacking,
        recovered=reading.recovered,
        history_error=reading.error,
    )


def _is_pruned(asked: Asked | None, committed_at: str, known: Known) -> bool:
    return asked is not None and pruned.is_pruned(asked.updated_utc, committed_at, known.pruned_before)


def _row_of(asked: Asked | None, former: str, root: str, history: History) -> Held | None:
    """The row of the status's commit, under the name that its workspace has now or the one that it had before."""
    if asked is None:
        return None
    try:
        rows = identities.held(history, root, [asked, asked._replace(workspace=former)])
    except HistoryError:
        return None
    return next(iter(rows.values()), None)


def _must_read_journal(workspace: OpenWorkspace, known: Known, *, marked: bool, pruned: bool) -> bool:
    if workspace.place.lacks(layout.JOURNAL):
        return False
    if not known.journal or known.journal != signatures.at(workspace.meta, layout.JOURNAL):
        return True
    # A journal that has not changed since all of it was in the history holds no identity that the
    # history lacks, but those whose rows were pruned; one that the history has may still be missing from a journal
    # made anew.
    return (known.row is not None or pruned) and not marked and workspace.finished


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
