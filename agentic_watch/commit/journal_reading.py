"""One journal, read through: which line has the status's identity, which lines does the history lack?

A journal at its limits takes seconds to read. Nobody else should wait for it, so whoever has others to serve reads with
`Patience`: when that is over the reading is paused, the workspace stays open and locked, and a later turn goes on.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from agentic_watch.commit.batch import HELD_BYTES
from agentic_watch.commit.insertion import HeldRows, insert_now
from agentic_watch.commit.open_workspace import OpenWorkspace
from agentic_watch.history.store import History, Key
from agentic_watch.workspace import layout
from agentic_watch.workspace.record import Record

_AT_LEAST = 200
"""Lines of each journal that are read in any case: an honest one has a few."""
_PACE = 32
"""Lines between two looks at the clock."""


class Patience:
    """Seconds that all journals of one turn may take together; None for as long as they need."""

    def __init__(self, seconds: float | None) -> None:
        self._left = seconds

    @property
    def left(self) -> float | None:
        """Seconds that are left."""
        return self._left

    def spend(self, seconds: float) -> None:
        """Some of it is gone."""
        if self._left is not None:
            self._left -= seconds


ENDLESS = Patience(None)


@dataclass(frozen=True, slots=True)
class Before:
    """What was found before the journal is read; `error` says why the history cannot tell, `repair` as for find()."""

    marked: bool
    row: str | None
    error: str
    repair: bool


class ReadingPaused(Exception):
    """The journal is not at its end, and patience is."""

    def __init__(self, reading: JournalReading) -> None:
        super().__init__()
        self.reading = reading


class JournalReading:
    """`known` are the commits that the history holds; what the journal has beside them is in `lacking`, or inserted."""

    def __init__(self, workspace: OpenWorkspace, known: dict[Key, str], history: History, before: Before) -> None:
        self.workspace = workspace
        self.before = before
        self._known = known
        self._history = history
        self._records = workspace.open_journal(append=before.repair).records()
        self._foreign = 0
        self.line: str | None = None
        self.lacking = HeldRows()
        self.recovered = 0
        self.error = before.error

    def go_on(self, patience: Patience) -> None:
        """Read to the end. Raises WorkspaceError; ReadingPaused when patience is over before."""
        began = time.monotonic()
        try:
            for count, record in enumerate(self._records, 1):
                self._take(record)
                if count % _PACE == 0 and count >= _AT_LEAST and _is_over(patience, began):
                    raise ReadingPaused(self)
        finally:
            patience.spend(time.monotonic() - began)
        if self._foreign:
            text = f"{layout.META_JOURNAL}: {self._foreign} lines name another workspace; passed over"
            self.workspace.warnings.append(text)

    def _take(self, record: Record) -> None:
        if record.workspace != self.workspace.candidate.name:
            self._foreign += 1
            return
        if record.identity == self.workspace.identity and self.line is None:
            self.line = record.committed_at
        key = record.updated_at.utc(), record.runs
        if not self.error and key not in self._known:
            self._known[key] = record.committed_at
            self._hold(record)

    def _hold(self, record: Record) -> None:
        self.lacking.add(record, self.workspace.candidate.root.key)
        self.recovered += 1
        if self.lacking.weight > HELD_BYTES:
            # Rather a transaction of its own than a journal's worth of rows in memory.
            self.error = insert_now(self.lacking.take(), self._history)


def _is_over(patience: Patience, began: float) -> bool:
    return patience.left is not None and time.monotonic() - began >= patience.left
