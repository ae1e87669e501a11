"""What is there of one commit: in the history, in the marker, in the journal."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field

from agentic_watch.commit.batch import HELD_BYTES
from agentic_watch.commit.insertion import HeldRows, insert_now
from agentic_watch.commit.open_workspace import OpenWorkspace
from agentic_watch.commit.patience import PACE
from agentic_watch.history import workspaces_table
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History, Key
from agentic_watch.workspace import layout, marker, signatures
from agentic_watch.workspace.record import Identity, Record
from agentic_watch.workspace.workspace_errors import Malformed

_MUCH = 20_000
"""Commits of the workspaces of one batch, in the history, that may be held in memory together."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the history holds of one workspace, or in `error` why it cannot tell.

    `commits` has the committed_at of each; `journal` is the journal's signature when all of it was in the history.
    """

    commits: dict[Key, str] = field(default_factory=dict)
    journal: bytes = b""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What is there of the commit that a status asks for.

    `marked`: the marker has its identity. `row`, `line`: the committed_at of the history row and of the journal line
    with it. `lacking` are the rows that the journal has and the history lacks; of all `recovered` ones some may be
    inserted already, unless `history_error` says why not. `unread_journal` is the signature of a journal that was not
    read, since the history holds all of it.
    """

    marked: bool = False
    row: str | None = None
    line: str | None = None
    lacking: HeldRows = field(default_factory=HeldRows)
    recovered: int = 0
    history_error: str = ""
    unread_journal: bytes = b""


def look_up(workspaces: Sequence[OpenWorkspace], history: History) -> list[Known]:
    """What the history holds of each of these workspaces, in their order."""
    found: dict[tuple[str, str], Known] = {}
    for root in {workspace.candidate.root.key for workspace in workspaces}:
        here = [workspace for workspace in workspaces if workspace.candidate.root.key == root]
        names = [workspace.candidate.name for workspace in here]
        with_journal = [w.candidate.name for w in here if not w.place.lacks(layout.JOURNAL)]
        try:
            commits = history.committed(root, names)
            journals = workspaces_table.journal_signatures(history, root, with_journal) if with_journal else {}
        except HistoryError as error:
            found |= {(root, name): Known(error=str(error)) for name in names}
            continue
        found |= {(root, name): Known(commits.get(name, {}), journals.get(name, b"")) for name in names}
    return [found[workspace.candidate.root.key, workspace.candidate.name] for workspace in workspaces]


def look_up_each(workspaces: Sequence[OpenWorkspace], history: History) -> Iterator[Known]:
    """`look_up`, one after the other where the history holds so much of them that it should not be held at once."""
    if len(workspaces) > 1 and _is_much(workspaces, history):
        for workspace in workspaces:
            yield from look_up([workspace], history)
    else:
        yield from look_up(workspaces, history)


def _is_much(workspaces: Sequence[OpenWorkspace], history: History) -> bool:
    names = [workspace.candidate.name for workspace in workspaces]
    try:
        return sum(history.count_commits(key, names) for key in {w.candidate.root.key for w in workspaces}) > _MUCH
    except HistoryError:
        return False


def find(workspace: OpenWorkspace, known: Known, history: History, *, repair: bool) -> Generator[None, None, Found]:
    """Look for marker, row and line. With `repair` an unreadable marker is moved aside; without, nothing is changed.

    Gives way now and then while a long journal is read (patience.py). Raises WorkspaceError.
    """
    name, identity = workspace.candidate.name, workspace.identity
    marked = workspace.finished and _read_marker(workspace, repair=repair) == (name, identity)
    row = known.commits.get((workspace.status.updated_at.utc(), workspace.status.runs))
    if not _must_read_journal(workspace, known, marked=marked, has_row=row is not None):
        return Found(marked, row, unread_journal=known.journal)
    reading = _JournalReading(workspace, known, history)
    for count, record in enumerate(workspace.open_journal(append=repair).records(), 1):
        reading.take(record)
        if count % PACE == 0:
            yield
    if reading.foreign:
        workspace.warnings.append(f"{layout.META_JOURNAL}: {reading.foreign} lines name another workspace; passed over")
    return Found(marked, row, reading.line, reading.lacking, reading.recovered, reading.error)


def _must_read_journal(workspace: OpenWorkspace, known: Known, *, marked: bool, has_row: bool) -> bool:
    if workspace.place.lacks(layout.JOURNAL):
        return False
    if not known.journal or known.journal != signatures.at(workspace.meta, layout.JOURNAL):
        return True
    # A journal that has not changed since all of it was in the history holds no identity that the
    # history lacks; one that the history has may still be missing from a journal made anew.
    return has_row and not marked and workspace.finished


def _read_marker(workspace: OpenWorkspace, *, repair: bool) -> tuple[str, Identity] | None:
    if workspace.place.lacks(layout.MARKER):
        return None
    try:
        found = marker.read(workspace.meta)
    except Malformed as error:
        if repair:
            workspace.warnings.append(f"{error}; moved to {marker.set_aside(workspace.meta)}")
        return None
    return (found.workspace, found.identity) if found else None


class _JournalReading:
    """One journal, read through: which line has the status's identity, which lines does the history lack?"""

    def __init__(self, workspace: OpenWorkspace, known: Known, history: History) -> None:
        self._workspace = workspace
        self._known = known
        self._history = history
        self.line: str | None = None
        self.foreign = 0
        self.lacking = HeldRows()
        self.recovered = 0
        self.error = known.error

    def take(self, record: Record) -> None:
        """Take the next record."""
        if record.workspace != self._workspace.candidate.name:
            self.foreign += 1
            return
        if record.identity == self._workspace.identity and self.line is None:
            self.line = record.committed_at
        key = record.updated_at.utc(), record.runs
        if not self.error and key not in self._known.commits:
            self._known.commits[key] = record.committed_at
            self._hold(record)

    def _hold(self, record: Record) -> None:
        self.lacking.add(record, self._workspace.candidate.root.key)
        self.recovered += 1
        if self.lacking.weight > HELD_BYTES:
            # Rather a transaction of its own than a journal's worth of rows in memory.
            self.error = insert_now(self.lacking.take(), self._history)
