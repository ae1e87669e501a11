"""One journal, read through: which line is the status's own, which lines does the history lack, and which were written
before the workspace was moved here?"""

from __future__ import annotations

from collections.abc import Iterator

from agentic_watch.commit import moved_workspaces
from agentic_watch.commit.batch import HELD_BYTES
from agentic_watch.commit.insertion import HeldRows, insert_now
from agentic_watch.commit.open_workspace import OpenWorkspace
from agentic_watch.commit.patience import PACE
from agentic_watch.history import identities
from agentic_watch.history.history_errors import HistoryError
from agentic_watch.history.identities import Asked, Held
from agentic_watch.history.store import History
from agentic_watch.workspace import instant, layout
from agentic_watch.workspace.record import Record, dispatch_of
from agentic_watch.workspace.status import Status

_Line = tuple[str, int, int]
"""The workspace that a line names, its `updated_at` in nanoseconds, its `runs`."""
_ASKED_AT_ONCE = 256
_ASKED_BYTES = 65_536
"""The history is asked about so many lines at once; so many bytes of them may wait for that, and one line more."""
_NAMES_AT_MOST = 256
"""So many other names are told apart in one journal; lines of further ones are only counted."""


class JournalSearch:
    """`line` is the committed_at of the status's own line, `differs` whether that says otherwise than the status,
    `moved_line` its line under another name; `row` is the row of either; `overtaken` says that lines of other commits
    follow it.

    `lacking` are rows that the history lacks, `recovered` says how many there were in all, `recovers_moved_line`
    whether that of `moved_line` is among them; `is_moved` says that some rows are of another name or root. `error` is
    why the history could not be asked or take them, "" when it could. What is older than `pruned_before` never becomes
    a row.
    """

    def __init__(
        self, workspace: OpenWorkspace, history: History, row: Held | None, *, error: str, pruned_before: str
    ) -> None:
        self._workspace = workspace
        self._candidate = workspace.candidate
        self._history = history
        self._names = {workspace.candidate.name} | ({row.workspace} if row is not None else set())
        self.row = row
        self._waiting: dict[_Line, Record] = {}
        self._waiting_bytes = 0
        self._others = _OtherNames()
        self._recovered_names = {workspace.candidate.name}
        self._recovered: set[int] = set()
        self.line: str | None = None
        self.moved_line: Record | None = None
        self.moved_line_differs = False
        self.overtaken = False
        self.differs = False
        self.lacking = HeldRows()
        self.recovered = 0
        self.recovers_moved_line = False
        self.is_moved = False
        self.pruned_before = pruned_before
        self.error = error

    def read(self, *, repair: bool) -> Iterator[None]:
        """Read it to its end, giving way now and then; with `repair` it is opened so that it can be appended to.

        Raises WorkspaceError.
        """
        for record, size in self._records(repair):
            if record is None:
                yield
                continue
            self._compare(record)
            if record.workspace == self._candidate.name:
                self._others.own_came()
            elif not self._others.count(record.workspace if self._can_be_moved(record) else ""):
                continue
            self._look_up_later(record, size)
        self._look_up()
        yield from self._recover_former(repair)
        if others := self._others.unknown_lines():
            self._workspace.warnings.append(
                f"{layout.META_JOURNAL}: {others} lines name another workspace; passed over"
            )

    def _recover_former(self, repair: bool) -> Iterator[None]:
        """Read once more what was written before the workspace was moved here, and the history lacks."""
        self._recovered_names = {name for name in self._others.lacking if self._is_former(name)}
        self._others.former |= self._recovered_names
        self.is_moved |= bool(self._recovered_names)
        if not self._recovered_names:
            return
        for record, size in self._records(repair):
            if record is None:
                yield
            elif record.workspace in self._recovered_names:
                self._look_up_later(record, size)
        self._look_up()

    def _records(self, repair: bool) -> Iterator[tuple[Record | None, int]]:
        """Each record that is to be looked at, with its size, and now and then None: a place to give way."""
        journal = self._workspace.open_journal(append=repair)
        for count, (record, size) in enumerate(journal.sized_records(), 1):
            if count % PACE == 0:
                yield None, 0
            yield record, size

    def _compare(self, record: Record) -> None:
        """Whether this is the status's own line, here or from where the workspace was before."""
        status = self._workspace.status
        if status is None:
            return
        if record.identity != self._workspace.identity:
            self.overtaken |= self.line is not None or self.moved_line is not None
        elif record.workspace in self._names:
            if self.line is None:
                self.line, self.differs = record.committed_at, _says_otherwise(record, status)
        elif self.moved_line is None and self._can_be_moved(record) and dispatch_of(record) == dispatch_of(status):
            self.moved_line, self.moved_line_differs = record, _says_otherwise(record, status)

    def _can_be_moved(self, record: Record) -> bool:
        return moved_workspaces.can_be_name(record.workspace, self._candidate.root.max_depth)

    def _look_up_later(self, record: Record, size: int) -> None:
        """Ask the history of this line, together with others. What is older than the pruning needs no row."""
        if self.error or age_of(record) < self.pruned_before:
            return
        self._waiting.setdefault((record.workspace, *record.identity), record)
        self._waiting_bytes += size
        if len(self._waiting) >= _ASKED_AT_ONCE or self._waiting_bytes > _ASKED_BYTES:
            self._look_up()

    def _look_up(self) -> None:
        """Ask the history which of those that wait it lacks; note in the rows of the others that they are here."""
        waiting = {moved_workspaces.asked(one.workspace, one): one for one in self._waiting.values()}
        self._waiting, self._waiting_bytes = {}, 0
        if self.error or not waiting:
            return
        try:
            found = identities.anywhere(self._history, self._candidate.root.key, list(waiting))
            own = [(asked, row) for asked, row in found if self._is_row_of(asked, row)]
            self._others.former |= {asked.workspace for asked, _ in own} - {self._candidate.name}
            for asked, row in own:
                self._note_row(waiting[asked], row)
            moved_workspaces.record_place([row for _, row in own], self._candidate, self._history)
            settled = {asked for asked, row in found if self._settles(asked, row)}
            done = {asked.dispatch for asked, _ in own}  # one dispatch may have lines under two names
            lacking = {asked for asked in waiting if asked not in settled and asked.dispatch not in done}
            # A prune may have taken them since the history was looked up; it says so in the same transaction.
            pruned_before = identities.pruned_before(self._history) if lacking else ""
        except HistoryError as error:
            self.error = str(error)
            return
        for asked, record in waiting.items():
            if asked in lacking and age_of(record) >= pruned_before:
                self._recover(record, asked)
        if self.lacking.weight > HELD_BYTES:
            # Rather a transaction of its own than a journal's worth of rows in memory.
            self.error = insert_now(self.lacking.take(), self._history)

    def _note_row(self, record: Record, row: Held) -> None:
        is_asked_for = record is self.moved_line or (record.identity, record.workspace) == (
            self._workspace.identity,
            self._candidate.name,
        )
        if is_asked_for and (self.row is None or not self.row.is_dispatch):
            self.row = row
        self.is_moved |= moved_workspaces.is_elsewhere(row, self._candidate)

    def _is_row_of(self, asked: Asked, row: Held) -> bool:
        """Whether a row is that of a line, and not of another dispatch of the same identity."""
        own = self._candidate.root.key, self._candidate.name
        return row.is_dispatch or own == (row.root, row.workspace) == (row.root, asked.workspace)

    def _settles(self, asked: Asked, row: Held) -> bool:
        """Whether a line needs no row, or can have none: its identity has one."""
        return self._is_row_of(asked, row) or (row.root, row.workspace) == (self._candidate.root.key, asked.workspace)

    def _recover(self, record: Record, asked: Asked) -> None:
        """Make a row, if the line counts here; else it is known later whether it does."""
        name = record.workspace
        if name not in self._recovered_names:
            self._others.lacking.add(name)
            return
        if hash(asked.dispatch) in self._recovered:
            return
        self._recovered.add(hash(asked.dispatch))
        moved_to = None if name == self._candidate.name else self._candidate.name
        self.lacking.add(record, self._candidate.root.key, moved_to)
        self.recovered += 1
        moved = self.moved_line
        self.recovers_moved_line |= moved is not None and (name, record.identity) == (moved.workspace, moved.identity)

    def _is_former(self, name: str) -> bool:
        """Whether lines under this name, which the history lacks, were written before this directory was moved here.

        They were when the history has another line of theirs, or the status's own line is among them. When the history
        was lost, also if nothing speaks against it: they stand before all that were written here, and nobody else can
        tell of such a workspace. Else an agent could add to what others did.
        """
        if self.error:
            return False
        if name in self._others.former or (self.moved_line is not None and self.moved_line.workspace == name):
            return True
        if name in self._others.after_own:
            return False
        try:
            return moved_workspaces.is_unknown(name, self._candidate, self._workspace.limits, self._history)
        except HistoryError as error:
            self.error = str(error)
            return False


class _OtherNames:
    """The other workspaces that a journal's lines name: those that this one was `former`ly, those of which the history
    is `lacking` a line, and those whose first line stands `after_own` ones."""

    def __init__(self) -> None:
        self.former: set[str] = set()
        self.lacking: set[str] = set()
        self.after_own: set[str] = set()
        self._lines: dict[str, int] = {}
        self._has_own = False

    def own_came(self) -> None:
        """A line names the workspace itself."""
        self._has_own = True

    def count(self, name: str) -> bool:
        """A line names another one, "" for a name that is none; whether that is told apart from others."""
        if name not in self._lines:
            if len(self._lines) >= _NAMES_AT_MOST:
                name = ""
            elif self._has_own:
                self.after_own.add(name)
        self._lines[name] = self._lines.get(name, 0) + 1
        return bool(name)

    def unknown_lines(self) -> int:
        """How many lines count nowhere."""
        return sum(number for name, number in self._lines.items() if name not in self.former)


def _says_otherwise(record: Record, status: Status) -> bool:
    """Whether a line of the status's identity says otherwise how it ended."""
    return (record.status, record.task, record.question) != (status.status, status.task, status.question)


def age_of(record: Record) -> str:
    """What a line's age is told by, as `updated_utc` is written: when it was committed, for Go's zero time."""
    at = instant.parse(record.committed_at) if record.updated_at.is_zero else record.updated_at
    return at.utc()
