"""What one commit still lacks. Pure: nothing here touches a file.

What is to be written of one workspace: the line and the row that its plan lacks, made while nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from agentic_watch.commit.found import CommitState
from agentic_watch.commit.open_workspace import OpenWorkspace
from agentic_watch.commit.row_buffer import RowBuffer
from agentic_watch.workspace import instant, journal, layout, record, report
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.redactor import redactor


class Plan(NamedTuple):
    """What is missing for one commit."""

    append: bool
    insert: bool
    mark: bool
    committed_at: str

    @property
    def nothing(self) -> bool:
        """Whether nothing is to be written."""
        return not (self.append or self.insert or self.mark)

    @property
    def is_new(self) -> bool:
        """Whether a line or a row is made: only then something is committed. A row that a marked line brings back is
        recovered."""
        return self.append or (self.insert and self.mark)


def decide(
    marked: bool, row: str | None, line: str | None, now: str, *, differs: bool = False, pruned: bool = False
) -> Plan:
    """Say what is missing, given what is there. Pure.

    `marked`: the marker has this identity. `row`, `line`: the committed_at of the history row and of the
    journal line with this identity, None when there is none (or the history cannot tell). A marker that
    neither confirms counts as none: an agent can forge it. `differs`: the status says otherwise than the row or line
    of its own identity; then it is not recorded a second time. `pruned`: a row of its age would have been pruned; then
    a marker or a line alone says that it is done.
    """
    if pruned and row is None and (marked or line is not None):
        return Plan(append=False, insert=False, mark=False, committed_at=line or "")
    if marked and row is not None:
        return Plan(append=False, insert=False, mark=False, committed_at=row)
    if marked and line is not None:
        return Plan(append=False, insert=True, mark=False, committed_at=line)
    if differs and row is not None and line is None:
        return Plan(append=False, insert=False, mark=False, committed_at=row)
    return Plan(append=line is None, insert=row is None, mark=True, committed_at=line or row or now)


_LARGE_LINE = 4_096
"""From this size on a record becomes a row at once: its memory is counted only as one."""

_DIFFERS = (
    f"{layout.STATUS}: says otherwise (status, task or question) than what was recorded with this updated_at and runs; "
    "not recorded again: a commit of its own needs a time or a run of its own"
)


@dataclass(slots=True)
class Prepared:
    """`plan` is None when nothing is to be committed. `line` is to be appended (b"": nothing is); `record` becomes a
    row while that is synced, or is one already in `rows`."""

    plan: Plan | None = None
    line: bytes = b""
    record: Record | None = None
    rows: RowBuffer = field(default_factory=RowBuffer)


def look_only(workspace: OpenWorkspace, found: CommitState) -> Prepared:
    """What would be written; neither line nor row is made. Raises WorkspaceError when it could not be."""
    return Prepared(_plan(workspace, found))


def prepare(workspace: OpenWorkspace, found: CommitState) -> Prepared:
    """Decide what is missing and make it. Raises WorkspaceError when the report cannot be read now."""
    plan = _plan(workspace, found)
    writing = Prepared(plan)
    if plan is not None and plan.append:
        _make_line(writing, workspace, plan, found.recorded_as)
    return writing


def _plan(workspace: OpenWorkspace, found: CommitState) -> Plan | None:
    if not workspace.finished:
        return None
    now = instant.now_text()
    plan = decide(found.marked, found.row, found.line, now, differs=found.differs, pruned=found.pruned)
    if workspace.ended:
        return plan._replace(mark=False)  # a marker vouches for a status, and nobody wrote this one
    if workspace.sighting is not None and found.overtaken:
        plan = plan._replace(mark=False)  # another process was faster, and has marked what came after it
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
    made = record.from_status(name, status, content, plan.committed_at, without)
    writing.line = made.line()
    if not journal.is_readable(writing.line, journal.longest_line(limits)):
        warning = f"{layout.META_REPORT}: makes too large a journal line; committed without the report"
        made = record.from_status(name, status, {}, plan.committed_at, without)
        writing.line = made.line()
    if warning:
        workspace.warnings.append(warning)
    kept = workspace.kept_files() if plan.insert else ()
    if plan.insert and not kept and len(writing.line) < _LARGE_LINE:
        writing.record = made
    elif plan.insert:
        writing.rows.add(made, workspace.candidate.root.key, kept=kept)
