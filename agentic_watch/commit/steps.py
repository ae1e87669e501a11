"""The steps of one workspace's commit.

    1  open its directories, lock it, read its status        open_workspace.py
    2  find its marker, row and line; decide what to write   judging.py
    3  make the line and the row                             prepare
    4  write the line; sync it                               WorkspaceCommit.write_line, sync_line
    5  insert the row                                        batches.py
    6  write the marker under a temporary name; sync it;
       rename it; sync the directory                         WorkspaceCommit.write_marker, place_marker
    7  report the outcome, close everything                  WorkspaceCommit.outcome; batches.py

Many commits are in progress at once (batches.py); each does its steps in this order. A step that fails ends only that
commit, and the next run starts it again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agentic_watch.commit.judging import CommitState, Plan, decide
from agentic_watch.commit.open_workspace import OpenWorkspace
from agentic_watch.commit.outcome import Outcome, Verdict, failed
from agentic_watch.history import rows
from agentic_watch.history.rows import Row, RowBuffer
from agentic_watch.workspace import files, instant, layout, marker, record, report
from agentic_watch.workspace.journal import is_readable, longest_line
from agentic_watch.workspace.marker import Marker
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.redactor import redactor
from agentic_watch.workspace.workspace_errors import Missing, WorkspaceError

_LARGE_LINE = 4_096
"""Records of this size or more become rows at once, because only rows count towards the memory limit."""

_DIFFERS = (
    f"{layout.STATUS}: its status, task or question differs from what was recorded with this updated_at and runs; "
    "not recorded again: a new commit needs a new updated_at or runs"
)


@dataclass(slots=True)
class Prepared:
    """`plan` is None when nothing is to be committed. `line` is the line to append (b"": none); `record` becomes a row
    while the line is synced, unless it is already in `rows`; `tells_usage` says that the record may hold tokens and
    cost."""

    plan: Plan | None = None
    line: bytes = b""
    record: Record | None = None
    rows: RowBuffer = field(default_factory=RowBuffer)
    tells_usage: bool = True


def look_only(workspace: OpenWorkspace, found: CommitState) -> Prepared:
    """What would be written, without making line or row. Raises WorkspaceError when it could not be written."""
    return Prepared(_plan(workspace, found))


def prepare(workspace: OpenWorkspace, found: CommitState) -> Prepared:
    """Decide what is missing and make it. Raises WorkspaceError when the report cannot be read now."""
    plan = _plan(workspace, found)
    writing = Prepared(plan)
    if plan is not None and plan.append:
        _make_line(writing, workspace, plan, found.recorded_name)
    return writing


def _plan(workspace: OpenWorkspace, found: CommitState) -> Plan | None:
    if not workspace.finished:
        return None
    now = instant.now_text()
    plan = decide(found.marked, found.row, found.line, now, differs=found.differs, pruned=found.pruned)
    if workspace.ended:
        return plan._replace(mark=False)  # a marker confirms a status file, and a ghost has none
    if workspace.sighting is not None and found.journal.is_overtaken:
        plan = plan._replace(mark=False)  # a later commit is marked already, by a faster process or before it was moved
    if workspace.linked is not None and (plan.append or found.differs):
        raise workspace.linked
    if found.differs:
        workspace.warnings.append(_DIFFERS)
    return plan


def _make_line(writing: Prepared, workspace: OpenWorkspace, plan: Plan, name: str) -> None:
    limits, status = workspace.config.limits, workspace.status
    assert status is not None
    without = redactor(limits.redact)
    if workspace.sighting is not None:
        content, warning = report.parse(workspace.sighting.report)
    elif workspace.ended or workspace.place.lacks(layout.REPORT):
        content, warning = {}, ""
    else:
        content, warning = report.read(workspace.meta, limits.report_bytes)
    writing.tells_usage = "usage" in content
    made = record.from_status(name, status, content, plan.committed_at, without)
    writing.line = made.line()
    if not is_readable(writing.line, longest_line(limits)):
        warning = f"{layout.META_REPORT}: journal line would be too large; committed without the report"
        made = record.from_status(name, status, {}, plan.committed_at, without)
        writing.line = made.line()
    if warning:
        workspace.warnings.append(warning)
    kept = workspace.kept_files() if plan.insert else ()
    if plan.insert and not kept and len(writing.line) < _LARGE_LINE:
        writing.record = made
    elif plan.insert:
        writing.rows.add(rows.from_record(made, workspace.candidate.root.key)._replace(kept=kept))


class WorkspaceCommit:
    """One workspace after step 3. `error` ends its commit; `history_error` means that only its row failed."""

    def __init__(self, workspace: OpenWorkspace, found: CommitState, writing: Prepared) -> None:
        self.workspace = workspace
        self.found = found
        self.writing = writing
        self.error: WorkspaceError | None = None
        self.history_error = found.journal.error
        self._way_is_new = False
        self._temporary = ""
        self._journal_signature: bytes | None = None

    @property
    def weight(self) -> int:
        """Approximate size in memory until its batch is written."""
        return len(self.writing.line) + self.writing.rows.weight + self.found.journal.lacking.weight

    @property
    def marks(self) -> bool:
        """Whether step 6 is needed."""
        return self.error is None and self.writing.plan is not None and self.writing.plan.mark

    @property
    def writes(self) -> bool:
        """Whether steps 4 or 6 write anything. A ghost gets no marker, but its line is synced too."""
        plan = self.writing.plan
        if self.error is not None or plan is None:
            return False
        return plan.mark or plan.append or (self.workspace.ended and plan.insert)

    # --- step 4

    def append_line(self) -> None:
        """All of step 4: write the line and make it durable, with its directory entries."""
        self.write_line()
        self.sync_line()

    def write_line(self) -> None:
        """Append the line, without a sync."""
        workspace = self.workspace
        try:
            journal = workspace.open_journal(append=True)
            if journal.descriptor is None and not workspace.place.names:
                files.own_if_empty(workspace.meta, workspace.place.directory, layout.META)
            # A killed process may have left an empty journal, or a line that it did not sync.
            self._way_is_new = journal.size == 0 or self.found.line is not None
            if self.writing.line:
                journal.append(self.writing.line)
                self.writing.line = b""
            else:
                journal.repair_tail()
        except WorkspaceError as error:
            self.error = error

    def sync_line(self) -> None:
        """Sync the journal, `.meta`, and for a new journal the workspace's directory."""
        workspace = self.workspace
        if self.error is not None or workspace.journal is None:
            return
        try:
            workspace.journal.sync()
            files.sync(workspace.meta, layout.META)
            if self._way_is_new:
                files.sync(workspace.place.directory, workspace.candidate.name)
        except WorkspaceError as error:
            self.error = error
            workspace.journal.take_back()

    # --- step 5

    def rows(self) -> list[Row]:
        """The rows to insert: recovered ones, and the new one unless its line failed."""
        if self.error is not None:
            return self.found.journal.lacking.rows
        record = self.writing.record
        made = [rows.from_record(record, self.workspace.candidate.root.key)] if record else []
        return [*self.found.journal.lacking.rows, *self.writing.rows.rows, *made]

    def forget_rows(self) -> None:
        """Free the rows, which are inserted or have failed."""
        self.writing.record = None
        self.writing.rows.take()
        self.found.journal.lacking.take()

    # --- step 6

    def release(self) -> None:
        """Close descriptors that are not needed once the line is durable."""
        self._journal_signature = self._signature_of_journal()
        self.workspace.release()

    def replace_marker(self) -> None:
        """All of step 6: write the marker, durably."""
        try:
            marker.replace(self.workspace.meta, self._marker())
        except WorkspaceError as error:
            self.error = error

    def write_marker(self, *, sync: bool) -> None:
        """First half of step 6: write the temporary marker, synced with `sync`."""
        try:
            self._temporary = marker.write_temporary(self.workspace.meta, self._marker(), sync=sync)
        except WorkspaceError as error:
            self.error = error

    def rewrite_marker(self) -> None:
        """Repeat the first half with a sync, after syncing the existing file failed."""
        files.remove(self.workspace.meta, self._temporary)
        self.write_marker(sync=True)

    def place_marker(self) -> None:
        """Second half of step 6: rename the temporary marker, once it is durable."""
        try:
            marker.put_in_place(self.workspace.meta, self._temporary)
        except WorkspaceError as error:
            self.error = error

    def _marker(self) -> Marker:
        plan, status = self.writing.plan, self.workspace.status
        assert plan is not None and status is not None
        return Marker(self.found.recorded_name, status.updated_at, status.runs, plan.committed_at)

    # --- step 7

    def outcome(self) -> Outcome:
        """The outcome, once its batch is written."""
        workspace, plan = self.workspace, self.writing.plan
        doubts = workspace.journal.warnings if workspace.journal is not None else []
        warnings, recovered = (*workspace.warnings, *doubts), 0 if self.history_error else self.found.journal.recovered
        if self.error is not None:
            return failed(workspace.candidate, self.error, warnings)._replace(recovered_rows=recovered)
        outcome = Outcome(
            candidate=workspace.candidate,
            verdict=self._verdict(),
            status=workspace.status,
            committed_at=plan.committed_at if plan is not None else "",
            recovered_rows=recovered,
            older=tuple(self.found.journal.older),
            warnings=warnings,
            history_error=self.history_error,
            signature=b"" if self.history_error or self.found.journal.is_read_again else workspace.signature(),
            journal=b"" if self.history_error or doubts else self._signature_of_journal(),
            is_replaced=workspace.sighting is not None or workspace.ended,
            ended=workspace.ended,
            directory=workspace.directory,
            tells_usage=self.writing.tells_usage,
        )
        if (trouble := workspace.trouble) is None:
            return outcome
        return outcome._replace(cause=str(trouble), fault=trouble.fault, kind=trouble.kind)

    def _verdict(self) -> Verdict:
        if self.workspace.trouble is not None:
            return Verdict.JOURNAL_ONLY if isinstance(self.workspace.trouble, Missing) else Verdict.FAILED
        if self.writing.plan is None:
            return Verdict.UNFINISHED
        return Verdict.COMMITTED if self.writing.plan.is_new else Verdict.SKIPPED

    def _signature_of_journal(self) -> bytes:
        """The journal's signature, if every line of it was read or written here; b"" otherwise, and when some lines
        have rows under another name, which must be looked up each time."""
        found, journal = self.found.journal, self.workspace.journal
        if found.is_moved or found.is_read_again:
            return b""
        if self._journal_signature is not None:
            return self._journal_signature
        return found.unread if journal is None else journal.signature()
