"""One workspace on its way to a commit: what is open, what was found, what is to be written."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentic_watch.commit.plan import Outcome, Plan, Verdict
from agentic_watch.config import Limits
from agentic_watch.history.rows import Row
from agentic_watch.history.store import Key
from agentic_watch.workspace import files, journal, layout, marker, signatures
from agentic_watch.workspace.journal import Journal
from agentic_watch.workspace.layout import Candidate
from agentic_watch.workspace.marker import Marker
from agentic_watch.workspace.place import Place
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Missing, WorkspaceError


@dataclass(slots=True)
class Work:
    """`row` and `line` are the committed_at of the history row and the journal line with this identity.

    `known` are the commits that the history holds of this workspace, None when it cannot tell; `journal_seen` is
    the journal's signature when the history held all of it.
    """

    candidate: Candidate
    place: Place
    limits: Limits
    status: Status
    signature: bytes
    warnings: list[str]
    finished: bool = True
    known: dict[Key, str] | None = None
    journal_seen: bytes = b""
    marked: bool = False
    row: str | None = None
    line: str | None = None
    plan: Plan | None = None
    line_bytes: bytes = b""
    fresh: bool = False
    temporary: str = ""
    journal_signature: bytes = b""
    journal: Journal | None = None
    record: Record | None = None
    new_rows: list[Row] = field(default_factory=list)
    rows_weight: int = 0
    recovered: int = 0
    error: WorkspaceError | None = None
    history_error: str = ""

    @property
    def meta(self) -> int:
        """The descriptor of `.meta`."""
        assert self.place.meta is not None
        return self.place.meta

    def hold(self, row: Row) -> None:
        """Keep a row until its batch is written."""
        self.new_rows.append(row)
        self.rows_weight += row.weight

    def let_go(self) -> None:
        """Forget the rows, and the record that would be one."""
        self.record, self.new_rows, self.rows_weight = None, [], 0

    @property
    def weight(self) -> int:
        """About how many bytes this holds in memory until its batch is written."""
        return len(self.line_bytes) + self.rows_weight

    def append_line(self) -> None:
        """Step 3: put the line into the journal and make it durable, with the names that lead to it."""
        self.write_line()
        self.sync_line()

    def write_line(self) -> None:
        """The first half of step 3: the line is in the journal, and not yet durable."""
        try:
            if self.journal is None:
                self.journal = journal.open_journal(self.meta, self.limits, absent=self.place.lacks(layout.JOURNAL))
            if self.journal.descriptor is None and not self.place.names:
                files.own_if_empty(self.meta, self.place.directory, layout.META)
            # An empty journal may be what a killed run made, and a line that was found what it never synced.
            self.fresh = self.journal.size == 0 or self.line is not None
            if self.line_bytes:
                self.journal.append(self.line_bytes)
                self.line_bytes = b""
            else:
                self.journal.repair_tail()
        except WorkspaceError as error:
            self.error = error

    def sync_line(self) -> None:
        """The second half: journal, `.meta`, and when the journal is new the workspace's directory."""
        if self.error is not None or self.journal is None:
            return
        try:
            self.journal.sync()
            files.sync(self.meta, layout.META)
            if self.fresh:
                files.sync(self.place.directory, self.candidate.name)
        except WorkspaceError as error:
            self.error = error
            self.journal.take_back()

    def replace_marker(self) -> None:
        """Step 5: vouch for what is on disk by now."""
        try:
            self._remove_temporaries()
            marker.replace(self.meta, self._marker())
        except WorkspaceError as error:
            self.error = error

    def write_marker(self, *, sync: bool) -> None:
        """The first part of step 5: the temporary marker, durable with `sync`."""
        try:
            self._remove_temporaries()
            self.temporary = marker.write_temporary(self.meta, self._marker(), sync=sync)
        except WorkspaceError as error:
            self.error = error

    def rewrite_marker(self) -> None:
        """The first part again, durable this time."""
        self.write_marker(sync=True)

    def place_marker(self) -> None:
        """The second part: the rename, once the temporary marker is durable."""
        try:
            marker.put_in_place(self.meta, self.temporary)
            self.temporary = ""
        except WorkspaceError as error:
            self.error = error

    def _remove_temporaries(self) -> None:
        """What a killed run left, and what could not be made durable."""
        names = (*self.place.names, self.temporary)
        marker.remove_temporaries(self.meta, names)
        self.temporary = ""

    def _marker(self) -> Marker:
        assert self.plan is not None
        return Marker(self.candidate.name, self.status.updated_at, self.status.runs, self.plan.committed_at)

    def outcome(self) -> Outcome:
        """What became of it, once its group is written."""
        if self.error is not None:
            return failed(self.candidate, self.error, tuple(self.warnings))
        doubts = self.journal.warnings if self.journal is not None else []
        meta = self.place.meta
        whole = meta is not None and not self.history_error and not doubts
        return Outcome(
            candidate=self.candidate,
            verdict=self._verdict(),
            status=self.status,
            committed_at=self.plan.committed_at if self.plan is not None else "",
            recovered_rows=0 if self.history_error else self.recovered,
            warnings=(*self.warnings, *doubts),
            history_error=self.history_error,
            signature=self._signature(),
            journal=self._journal_signature(meta) if meta is not None and whole else b"",
        )

    def _verdict(self) -> Verdict:
        if not self.finished:
            return Verdict.UNFINISHED
        assert self.plan is not None
        return Verdict.COMMITTED if self.plan.mark else Verdict.SKIPPED

    def _signature(self) -> bytes:
        """The status as it was when read, the marker as it is now; b"" while either cannot be trusted."""
        if self.history_error or not self.signature:
            return b""
        meta = self.place.meta
        return self.signature + (signatures.at(meta, layout.MARKER) if meta is not None else signatures.ABSENT)

    def _journal_signature(self, meta: int) -> bytes:
        return self.journal_signature or signatures.at(meta, layout.JOURNAL)

    def release(self) -> None:
        """Close what is not needed any more once the line is durable; `.meta` stays open, and locked."""
        if self.journal is not None:
            self.journal_signature = self.journal.signature()
            self.journal.close()
        self.place.release()

    def close(self) -> None:
        """Close everything, which releases the lock."""
        if self.journal is not None:
            self.journal.close()
        self.place.close()


def failed(candidate: Candidate, error: WorkspaceError, warnings: tuple[str, ...] = ()) -> Outcome:
    """The outcome of a workspace that could not be committed."""
    verdict = Verdict.VANISHED if isinstance(error, Missing) else Verdict.FAILED
    return Outcome(candidate, verdict, str(error), error.lies_in_workspace, warnings=warnings)
