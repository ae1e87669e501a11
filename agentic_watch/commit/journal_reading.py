"""One journal, read through: which line is the status's own, and which lines does the history lack?"""

from __future__ import annotations

from collections.abc import Iterator

from agentic_watch.commit.batch import HELD_BYTES
from agentic_watch.commit.insertion import HeldRows, insert_now
from agentic_watch.commit.moves import has_come_back, is_there, may_be, take_down, was_moved
from agentic_watch.commit.open_workspace import OpenWorkspace
from agentic_watch.commit.patience import PACE
from agentic_watch.history import identities, pruned
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.rows import commit_id
from agentic_watch.history.store import History, Key
from agentic_watch.workspace import layout
from agentic_watch.workspace.record import Record

_ASKED_AT_ONCE = 256
_ASKED_BYTES = 65_536
"""The history is asked about so many lines at once; so many bytes of them may wait for that, and one line more."""
_FORMER_KEYS = 64
"""So many commits under a name are enough to know it by."""


class JournalReading:
    """`line` is the committed_at of the status's own line, `differs` whether that line says otherwise than the status,
    `overtaken` whether lines of other commits follow it.

    `former` is the name that the workspace had when its lines were written, if it was moved. `lacking` are rows that
    the history lacks, `recovered` says how many there were in all; `error` is why the history could not be asked or
    take them, "" when it could. `older` are the commit ids of lines that the history lacks and that are as old as
    what was pruned: these never become rows. `row_of` is the workspace that the row of the status's commit names, ""
    when there is none.
    """

    def __init__(self, workspace: OpenWorkspace, history: History, *, error: str, row_of: str) -> None:
        self._workspace = workspace
        self._history = history
        self._row_of = row_of
        self._recovers = True
        self._name = workspace.candidate.name
        self._waiting: dict[Key, Record] = {}
        self._waiting_bytes = 0
        self._foreign = 0
        self._own_came_first = False
        self._foreign_names: set[str] = set()
        self._foreign_keys: set[Key] = set()
        self._own_keys: set[Key] = set()
        self.former = ""
        self.line: str | None = None
        self.overtaken = False
        self.differs = False
        self.lacking = HeldRows()
        self.recovered = 0
        self.older: list[str] = []
        self.error = error

    def read(self, *, repair: bool) -> Iterator[None]:
        """Read it to its end, giving way now and then; with `repair` it is opened so that it can be appended to.

        Raises WorkspaceError.
        """
        yield from self._lines_of(self._name, repair=repair)
        self._take_down_the_return()
        if not self._foreign:
            return
        if self._is_moved():
            (self.former,) = self._foreign_names
            # Nobody but the workspace that has the name now may add rows to those that were committed under it.
            self._recovers = not is_there(self._workspace.candidate, self.former)
            yield from self._lines_of(self.former, repair=repair)
            if self._recovers:
                self._take_down_the_move()
        else:
            self._workspace.warnings.append(
                f"{layout.META_JOURNAL}: {self._foreign} lines name another workspace; passed over"
            )

    def _lines_of(self, name: str, *, repair: bool) -> Iterator[None]:
        """Take the lines that name this workspace, count the others."""
        self._name, self._foreign = name, 0
        for count, (record, size) in enumerate(self._workspace.open_journal(append=repair).sized_records(), 1):
            if count % PACE == 0:
                yield
            if record.workspace == name or (self._row_of and record.workspace == self._row_of):
                self._compare(record)
            if record.workspace != name:
                self._note_foreign(record)
                continue
            self._own_came_first |= not self._foreign
            if len(self._own_keys) < _FORMER_KEYS:
                self._own_keys.add((record.updated_at.utc(), record.runs))
            self._take(record, size)
        self._ask()

    def _note_foreign(self, record: Record) -> None:
        self._foreign += 1
        if len(self._foreign_names) < 2:
            self._foreign_names.add(record.workspace)
        if len(self._foreign_keys) < _FORMER_KEYS:
            self._foreign_keys.add((record.updated_at.utc(), record.runs))

    def _is_moved(self) -> bool:
        # What was written under a former name stands before what was written since the move.
        if self._own_came_first or len(self._foreign_names) != 1:
            return False
        (former,) = self._foreign_names
        if self.error:  # the workspace is looked at again when the history can tell
            return may_be(self._workspace.candidate, former)
        try:
            return was_moved(self._workspace.candidate, former, self._foreign_keys, self._history)
        except HistoryError as error:
            self.error = str(error)
            return False

    def _take_down_the_return(self) -> None:
        if self._history.read_only or self.error or not self._own_keys:
            return
        try:
            has_come_back(self._workspace.candidate, self._own_keys, self._history)
        except HistoryError as error:
            self.error = str(error)

    def _take_down_the_move(self) -> None:
        """Its former rows first, then where they are now: a move is rare, and waits for no batch."""
        if self._history.read_only or self.error:
            return
        self.error = insert_now(self.lacking.take(), self._history)
        try:
            take_down(
                self._workspace.candidate,
                self.former,
                self._foreign_keys,
                self._history,
                recovered=self.recovered > 0,
            )
        except HistoryError as error:
            self.error = self.error or str(error)

    def _compare(self, record: Record) -> None:
        status = self._workspace.status
        if status is None:
            return
        if record.identity != self._workspace.identity:
            self.overtaken |= self.line is not None
        elif self.line is None:
            self.line = record.committed_at
            said = record.status, record.task, record.question
            self.differs = said != (status.status, status.task, status.question)

    def _take(self, record: Record, size: int) -> None:
        key = record.updated_at.utc(), record.runs
        if self.error or not self._recovers:
            return
        self._waiting.setdefault(key, record)
        self._waiting_bytes += size
        if len(self._waiting) >= _ASKED_AT_ONCE or self._waiting_bytes > _ASKED_BYTES:
            self._ask()

    def _ask(self) -> None:
        """Ask the history which of those that wait it lacks; these become rows."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        if self.error or not waiting:
            return
        root, here = self._workspace.candidate.root.key, self._workspace.candidate.name
        try:
            lacking = identities.lacking(self._history, root, self._name, waiting, here=here)
            # A prune may have taken them since the history was looked up; it says so in the same transaction.
            pruned_before = identities.pruned_before(self._history) if lacking else ""
        except HistoryError as error:
            self.error = str(error)
            return
        for key in lacking:
            if pruned.is_pruned(key[0], waiting[key].committed_at, pruned_before):
                self.older.append(commit_id(root, self._name, *key))
                continue
            self.lacking.add(waiting[key], root)
            self.recovered += 1
        if self.lacking.weight > HELD_BYTES:
            # Rather a transaction of its own than a journal's worth of rows in memory.
            self.error = insert_now(self.lacking.take(), self._history)
