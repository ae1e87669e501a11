"""What is there of one commit: in the marker, in the history, in the journal."""

from __future__ import annotations

from collections.abc import Sequence

from agentic_watch.commit.insertion import HOST, insert_rows
from agentic_watch.commit.work import Work
from agentic_watch.history import rows, workspaces_table
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History
from agentic_watch.workspace import journal, layout, marker, signatures
from agentic_watch.workspace.record import Identity, Record
from agentic_watch.workspace.workspace_errors import Malformed

HELD_BYTES = 8 << 20
"""What a group, or the rows recovered from one journal, may hold in memory before it is written."""


def look_up(works: Sequence[Work], history: History) -> None:
    """Fill in `known` and `journal_seen` of all that are locked: what the history holds of them."""
    for root in {work.candidate.root.key for work in works}:
        here = [work for work in works if work.candidate.root.key == root]
        names = [work.candidate.name for work in here]
        with_journal = [work.candidate.name for work in here if not work.place.lacks(layout.JOURNAL)]
        try:
            commits = history.committed(root, names)
            journals = workspaces_table.journal_signatures(history, root, with_journal) if with_journal else {}
        except HistoryError as error:
            for work in here:
                work.history_error = str(error)
            continue
        for work in here:
            work.known = commits.get(work.candidate.name, {})
            work.journal_seen = journals.get(work.candidate.name, b"")


def examine(work: Work, history: History, *, repair: bool) -> None:
    """Fill in `marked`, `row`, `line`, and the rows that the journal has and the history lacks.

    With `repair` an unreadable marker is moved aside; without it nothing is changed.
    """
    identity = work.status.updated_at.ns, work.status.runs
    if work.finished:
        work.marked = _read_marker(work, repair) == (work.candidate.name, identity)
    if work.known:
        work.row = work.known.get((work.status.updated_at.utc(), work.status.runs))
    if work.place.lacks(layout.JOURNAL):
        return
    # A journal that has not changed since all of it was in the history holds no identity that the
    # history lacks; one that the history has may still be missing from a journal made anew.
    unchanged = work.journal_seen and work.journal_seen == signatures.at(work.meta, layout.JOURNAL)
    if not (unchanged and (work.row is None or work.marked or not work.finished)):
        _read_journal(work, history, identity, repair=repair)


def _read_marker(work: Work, repair: bool) -> tuple[str, Identity] | None:
    if work.place.lacks(layout.MARKER):
        return None
    try:
        found = marker.read(work.meta)
    except Malformed as error:
        if repair:
            work.warnings.append(f"{error}; moved to {marker.set_aside(work.meta)}")
        return None
    return (found.workspace, found.identity) if found else None


def _read_journal(work: Work, history: History, identity: Identity, *, repair: bool) -> None:
    work.journal = journal.open_journal(work.meta, work.limits, append=repair)
    foreign = 0
    for found in work.journal.records():
        if found.workspace != work.candidate.name:
            foreign += 1
            continue
        if found.identity == identity and work.line is None:
            work.line = found.committed_at
        key = found.updated_at.utc(), found.runs
        if work.known is not None and key not in work.known:
            work.known[key] = found.committed_at
            _recover(work, history, found)
    if foreign:
        work.warnings.append(f"{layout.META_JOURNAL}: {foreign} lines name another workspace; passed over")


def _recover(work: Work, history: History, found: Record) -> None:
    if work.history_error:
        return
    work.hold(rows.from_record(found, work.candidate.root.key, HOST))
    work.recovered += 1
    if work.weight > HELD_BYTES:
        # Rather a transaction of its own than a journal's worth of rows in memory.
        insert_rows([work], history)
