"""One journal, read through: which line is the status's own, and which lines does the history lack?"""

from __future__ import annotations

from collections.abc import Iterator

from agentic_watch.commit.batch import HELD_BYTES
from agentic_watch.commit.insertion import HeldRows, insert_now
from agentic_watch.commit.open_workspace import OpenWorkspace
from agentic_watch.commit.patience import PACE
from agentic_watch.history import identities
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.store import History, Key
from agentic_watch.workspace import layout
from agentic_watch.workspace.record import Record

_ASKED_AT_ONCE = 256
_ASKED_BYTES = 65_536
"""The history is asked about so many lines at once; so many bytes of them may wait for that, and one line more."""


class JournalReading:
    """`line` is the committed_at of the status's own line, `differs` whether that line says otherwise than the status.

    `lacking` are rows that the history lacks, `recovered` says how many there were in all; `error` is why the history
    could not be asked or take them, "" when it could.
    """

    def __init__(self, workspace: OpenWorkspace, history: History, error: str) -> None:
        self._workspace = workspace
        self._history = history
        self._waiting: dict[Key, Record] = {}
        self._waiting_bytes = 0
        self._foreign = 0
        self.line: str | None = None
        self.differs = False
        self.lacking = HeldRows()
        self.recovered = 0
        self.error = error

    def read(self, *, repair: bool) -> Iterator[None]:
        """Read it to its end, giving way now and then; with `repair` it is opened so that it can be appended to.

        Raises WorkspaceError.
        """
        for count, (record, size) in enumerate(self._workspace.open_journal(append=repair).sized_records(), 1):
            if count % PACE == 0:
                yield
            if record.workspace != self._workspace.candidate.name:
                self._foreign += 1
                continue
            self._compare(record)
            self._take(record, size)
        self._ask()
        if self._foreign:
            self._workspace.warnings.append(
                f"{layout.META_JOURNAL}: {self._foreign} lines name another workspace; passed over"
            )

    def _compare(self, record: Record) -> None:
        status = self._workspace.status
        if status is not None and self.line is None and record.identity == self._workspace.identity:
            self.line = record.committed_at
            said = record.status, record.task, record.question
            self.differs = said != (status.status, status.task, status.question)

    def _take(self, record: Record, size: int) -> None:
        if self.error:
            return
        self._waiting.setdefault((record.updated_at.utc(), record.runs), record)
        self._waiting_bytes += size
        if len(self._waiting) >= _ASKED_AT_ONCE or self._waiting_bytes > _ASKED_BYTES:
            self._ask()

    def _ask(self) -> None:
        """Ask the history which of those that wait it lacks; these become rows."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, {}, 0
        if self.error or not waiting:
            return
        root, name = self._workspace.candidate.root.key, self._workspace.candidate.name
        try:
            lacking = identities.lacking(self._history, root, name, waiting)
        except HistoryError as error:
            self.error = str(error)
            return
        for key in lacking:
            self.lacking.add(waiting[key], root)
        self.recovered += len(lacking)
        if self.lacking.weight > HELD_BYTES:
            # Rather a transaction of its own than a journal's worth of rows in memory.
            self.error = insert_now(self.lacking.take(), self._history)
