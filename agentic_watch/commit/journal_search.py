"""Reads one journal: finds the line of the current status, lines whose rows the history lacks, and lines that were
written before the workspace was moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from agentic_watch.commit import moved_workspaces
from agentic_watch.commit.moved_workspaces import LinesAtHome
from agentic_watch.commit.open_workspace import OpenWorkspace
from agentic_watch.config import Root
from agentic_watch.history import HistoryError, commit_lookup, pruned
from agentic_watch.history.columns import commit_id
from agentic_watch.history.commit_lookup import ExistingRow, Lookup
from agentic_watch.history.rows import HELD_BYTES, Row, RowBuffer, from_record
from agentic_watch.history.store import History
from agentic_watch.workspace import instant, layout
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.journal import Journal
from agentic_watch.workspace.record import Record, is_same_dispatch
from agentic_watch.workspace.redactor import redactor

_PACE = 32
"""Lines between two yields: a journal at its limits takes seconds."""
_ASKED_AT_ONCE = 256
_ASKED_BYTES = 65_536
"""Lines are looked up in the history in groups of about this size."""
_NAMES_LOOKED_AT = 8
"""Former names that are looked up on disk at most."""
_NAMES_AT_MOST = 256
"""Other names that are tracked per journal; lines of further names are only counted."""


@dataclass(slots=True)
class JournalState:
    """What a journal tells besides the status's own line; nothing while it was not read.

    `is_overtaken`: lines of other commits follow the status's own, or the marker is that of the finish which replaced
    it. `lacking` are the rows that the journal has and the history lacks; `recovered` is their total, of which some may
    be inserted already, unless `error` (of any query or insertion) says why not. `older` are the commit ids of lines
    that the history lacks and that are older than the last prune: these never become rows. `is_moved`: some rows have
    another name or root. `is_read_again`: rows in another root, or lines that were skipped, may count otherwise once
    the history has more rows. `unread` is the signature of a journal that was not read: the history holds all of it.
    """

    is_overtaken: bool = False
    lacking: RowBuffer = field(default_factory=RowBuffer)
    recovered: int = 0
    error: str = ""
    older: list[str] = field(default_factory=list)
    is_moved: bool = False
    is_read_again: bool = False
    unread: bytes = b""


class JournalSearch:
    """Finds what a workspace's journal tells of its status and of the history; the words for names are those of
    `moved_workspaces`.

    `row` is the row of the status's commit. `line` is its line under the workspace's name or that of the row,
    `moved_line` the one of the same dispatch under another name, whose row is among the new ones if
    `recovers_moved_line`. `copied` are lines under another name with the status's time and run but of another dispatch:
    recorded name and committed_at of each. `found` is all else.
    """

    def __init__(self, workspace: OpenWorkspace, history: History, row: ExistingRow | None, error: str) -> None:
        self._workspace = workspace
        self._candidate = workspace.candidate
        self._history = history
        self._without = redactor(workspace.config.limits.redact)
        self._waiting: list[Record] = []
        self._waiting_bytes = 0
        self._others = _OtherNames()
        self._recovered_names = {workspace.candidate.name}
        self._done: set[int] = set()  # hashes of the dispatches that have rows, and of those rows' identities
        self._status_names: set[str] = set()
        self._homes: dict[str, LinesAtHome] = {}
        self.row = row
        self.line: Record | None = None
        self.moved_line: Record | None = None
        self.recovers_moved_line = False
        self.copied: set[tuple[str, str]] = set()
        self.found = JournalState(error=error)

    @property
    def names(self) -> set[str]:
        """The workspace's name and that of its row."""
        return {self._candidate.name, *([self.row.workspace] if self.row is not None else [])}

    def look_up_row(self, name: str) -> None:
        """Find the row of the status's dispatch under a recorded name, if none is known, and record its place."""
        status = self._workspace.status
        if self.found.error or status is None or (self.row is not None and self.row.is_dispatch):
            return
        try:
            row = moved_workspaces.row_of_dispatch(self._candidate, status, {name}, self._history)
            if row is not None:
                self.row = row  # known also when its place cannot be recorded now
                moved_workspaces.record_place([row], self._workspace, self._history)
        except HistoryError as error:
            self.found.error = str(error)

    def read(self, *, repair: bool) -> Iterator[None]:
        """Read the whole journal, yielding now and then; with `repair` it is opened for appending.

        Raises WorkspaceError.
        """
        journal, names = self._workspace.open_journal(append=repair), self.names
        for number, (record, size) in enumerate(journal.sized_records(), 1):
            if number % _PACE == 0:
                yield
            self._compare(record, names)
            if record.workspace == self._candidate.name:
                self._others.has_own = True
            elif not self._can_be_moved(record) or not self._others.tell_apart(record.workspace):
                self._others.foreign[""] += 1
                continue
            self._look_up_later(record, size)
        self._look_up()
        yield from self._recover_former(journal)
        foreign = {name: count for name, count in self._others.foreign.items() if name not in self._others.former}
        if foreign:
            count = sum(foreign.values())
            named = "1 line names" if count == 1 else f"{count:,} lines name"
            self._workspace.warnings.append(f"{layout.META_JOURNAL}: {named} another workspace; skipped")
        self.found.is_read_again |= any(foreign)

    def _compare(self, record: Record, names: Collection[str]) -> None:
        """Check whether this is the status's own line, under this name or a former one."""
        status = self._workspace.status
        if status is None:
            return
        if record.identity != self._workspace.identity:
            self.found.is_overtaken |= self.line is not None or self.moved_line is not None
        elif record.workspace in names:
            self.line = self.line or record
        elif not is_same_dispatch(record, status, self._without):
            self.copied.add((record.workspace, record.committed_at))
        elif self._can_be_moved(record):
            self.moved_line = self.moved_line or record
            self._status_names.add(record.workspace)

    def says_otherwise(self, record: Record) -> bool:
        """Whether a line with the status's identity contradicts the status."""
        status, same = self._workspace.status, self._without.is_same
        assert status is not None
        is_same = same(record.task, status.task) and same(record.question, status.question)
        return record.status != status.status or not is_same

    def _can_be_moved(self, record: Record) -> bool:
        return moved_workspaces.can_be_name(record.workspace, self._candidate.root.max_depth)

    # --- which lines have rows

    def _look_up_later(self, record: Record, size: int) -> None:
        """Queue a line for the next lookup in the history."""
        if self.found.error:
            return
        self._waiting.append(record)
        self._waiting_bytes += size
        if len(self._waiting) >= _ASKED_AT_ONCE or self._waiting_bytes > _ASKED_BYTES:
            self._look_up()

    def _look_up(self) -> None:
        """Look up the queued lines in the history: make the missing rows, and record this place in the others."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if self.found.error or not waiting:
            return
        asked = [commit_lookup.lookup_of(record.workspace, record) for record in waiting]
        try:
            found = commit_lookup.told(self._history, self._candidate.root, self._candidate.name, asked)
            own = [(number, row) for number, row in found if self._is_row_of(asked[number], row)]
            of_dispatch = [row for _, row in own if row.is_dispatch]  # one elsewhere may have another's identity
            moved_workspaces.record_place(of_dispatch, self._workspace, self._history)
            # A prune may have removed them since the first lookup; `pruned_before` is read in the same transaction.
            held = {number for number, _ in own}
            pruned_before = commit_lookup.pruned_before(self._history) if len(held) < len(waiting) else ""
        except HistoryError as error:
            self.found.error = str(error)
            return
        for number, row in own:
            self._note_row(waiting[number], row)
        done = {asked[number].dispatch for number, row in own if row.is_dispatch}  # it may have lines under two names
        self._done.update(map(hash, done))
        self._done.update(hash((row.root, row.workspace, *asked[number].identity)) for number, row in found)
        for number, record in enumerate(waiting):
            if number not in held and asked[number].dispatch not in done:
                self._take(record, asked[number], pruned_before)
        if self.found.lacking.weight > HELD_BYTES:
            # A separate transaction, so that the rows of a whole journal are not kept in memory.
            self.found.error = insert_now(self.found.lacking.take(), self._history)

    def _is_row_of(self, asked: Lookup, row: ExistingRow) -> bool:
        """Whether a row belongs to a line, and not to another dispatch with the same identity."""
        own = self._candidate.key
        return row.is_dispatch or own == (row.root, row.workspace) == (row.root, asked.workspace)

    def _note_row(self, record: Record, row: ExistingRow) -> None:
        is_own, status = record.workspace == self._candidate.name, self._workspace.status
        is_status = status is not None and is_same_dispatch(record, status, self._without)
        if record.identity == self._workspace.identity and (is_own or is_status):
            self.row = row if self.row is None or not self.row.is_dispatch else self.row
            if row.is_dispatch and record.workspace == row.workspace and not is_own:
                self.moved_line = record  # of its lines under several names the one that has the row
        if record.workspace == row.workspace != self._candidate.name:
            self._others.former.add(record.workspace)
        self.found.is_moved |= moved_workspaces.is_elsewhere(row, self._candidate)
        self.found.is_read_again |= row.root != self._candidate.root.key

    # --- lines without a row

    def _take(self, record: Record, asked: Lookup, pruned_before: str) -> None:
        """Make the row of a line that the history lacks, if it belongs here and no other dispatch has taken its
        identity: that may have a line under another name."""
        name, is_own = record.workspace, record.workspace == self._candidate.name
        if pruned.is_pruned(asked.updated_utc, instant.parse(record.committed_at).utc(), pruned_before):
            if is_own or name in self._others.former:
                self.found.older.append(commit_id(self._candidate.root.key, name, asked.updated_utc, record.runs))
        elif name not in self._recovered_names:
            self._others.foreign[name] += 1
        else:
            root = (self._home(record) or self._candidate.root).key
            row = {hash(asked.dispatch), hash((root, name, *asked.identity))}
            if self._done.isdisjoint(row):
                self._done |= row
                self._recover(record, root)

    def _recover_former(self, journal: Journal) -> Iterator[None]:
        """Read again the lines that were written before the workspace was moved here and whose rows are missing."""
        self._recovered_names = {name for name in self._others.foreign if name and self._is_former(name)}
        self._others.former |= self._recovered_names
        self.found.is_moved |= bool(self._recovered_names)
        if not self._recovered_names:
            return
        for number, (record, size) in enumerate(journal.sized_records(), 1):
            if number % _PACE == 0:
                yield
            if record.workspace in self._recovered_names:
                self._look_up_later(record, size)
        self._look_up()
        if not self.found.error and not self._history.read_only:
            # Inserted at once: another copy in the same batch must find them.
            self.found.error = insert_now(self.found.lacking.take(), self._history)

    def _is_former(self, name: str) -> bool:
        """Whether lines under this name, which the history lacks, were written before this directory was moved here.

        They were if the history has another line under this name, or if the status's own line has it. After the history
        was lost, they also count if all of them precede the lines written here and no workspace with that name exists.
        Otherwise an agent could add dispatches to another workspace.
        """
        if self.found.error or len(self._homes) >= _NAMES_LOOKED_AT:
            return False
        self._homes[name], is_there = moved_workspaces.homes_of(name, self._workspace)
        if name in self._others.former or name in self._status_names:
            return True
        if self._others.after_own.get(name) or is_there:
            return False
        try:
            return not commit_lookup.has_any(self._history, self._candidate.root.key, name)
        except HistoryError as error:
            self.found.error = str(error)
            return False

    def _home(self, record: Record) -> Root | None:
        """The root of a line's home, if that has the line too."""
        return self._homes.get(record.workspace, {}).get(moved_workspaces.line_key(record))

    def _recover(self, record: Record, root: str) -> None:
        """Make the row of a line, unless its home has it: if this directory is a copy and the original still exists,
        the row belongs to the original."""
        name, moved = record.workspace, self.moved_line
        is_status = moved is not None and (name, record.identity) == (moved.workspace, moved.identity)
        home = self._home(record)
        if home is not None:
            try:
                row = moved_workspaces.row_of_dispatch(Candidate(home, name), record, (name,), self._history)
            except HistoryError as error:
                self.found.error = str(error)
                return
            if row is not None:
                self.row = row if is_status else self.row
                return
        # The files on disk are those of the newest run, which the status describes.
        kept = self._workspace.kept_files() if record.identity == self._workspace.identity else ()
        made = from_record(record, root, moved_to=moved_workspaces.place_of(root, name, self._candidate))
        self.found.lacking.add(made._replace(is_recovered=True, kept=kept))
        self.found.recovered += 1
        self.recovers_moved_line |= is_status


@dataclass(slots=True)
class _OtherNames:
    """The recorded names in a journal other than the workspace's own.

    `former` are those proven to be former names; `foreign` counts the lines without a row of each other one ("" for
    names that are not told apart). `after_own`: whether the first line of a name follows own lines.
    """

    former: set[str] = field(default_factory=set)
    foreign: Counter[str] = field(default_factory=Counter)
    after_own: dict[str, bool] = field(default_factory=dict)
    has_own: bool = False

    def tell_apart(self, name: str) -> bool:
        """Register the name of a line; False when the limit of names is reached."""
        if len(self.after_own) < _NAMES_AT_MOST:
            self.after_own.setdefault(name, self.has_own)
        return name in self.after_own


def insert_now(new_rows: Sequence[Row], history: History) -> str:
    """Insert rows in a separate transaction; returns the error, or ""."""
    try:
        history.insert(new_rows)
    except HistoryError as error:
        return str(error)
    return ""
