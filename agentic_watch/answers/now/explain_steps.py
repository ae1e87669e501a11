"""The steps of an explanation that describe the three records of a dispatch: marker, journal line, history row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agentic_watch import counted
from agentic_watch.config import Limits
from agentic_watch.workspace import layout, marker
from agentic_watch.workspace.journal import open_journal
from agentic_watch.workspace.record import Identity, Record
from agentic_watch.workspace.redactor import Redactor
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Malformed, WorkspaceError


@dataclass(frozen=True, slots=True)
class Step:
    """One step. `name` is status, finished, lock, marker, journal, row…; `holds` says whether it is as in a committed
    dispatch (None: unknown), `says` explains it."""

    name: str
    holds: bool | None
    says: str


_COMPARED = ("status", "task", "question")
_LONGEST = 60


@dataclass(slots=True)
class Records:
    """What was found of the dispatch in `status`: its row and its line, None when missing.

    `former` are former names of the workspace in the history. Texts are redacted by `without` before comparing.
    """

    workspace: str
    status: Status
    former: frozenset[str] = frozenset()
    marked: bool = False
    row: Mapping[str, Any] | None = None
    row_unknown: bool = False
    line: Record | None = None
    without: Redactor = field(default_factory=Redactor)

    @property
    def identity(self) -> Identity:
        """The identity of the commit."""
        return self.status.updated_at.ns, self.status.runs

    @property
    def row_at(self) -> str | None:
        """The row's committed_at."""
        return None if self.row is None else str(self.row["committed_at"])

    @property
    def line_at(self) -> str | None:
        """The line's committed_at."""
        return None if self.line is None else self.line.committed_at

    def differences(self) -> Iterator[str]:
        """Describe records of this identity whose content differs from the status."""
        for name in _COMPARED:
            now = getattr(self.status, name)
            for where, then in (
                ("the history row", self.row[name] if self.row is not None else now),
                ("the journal line", getattr(self.line, name) if self.line is not None else now),
            ):
                if not self.without.is_same(then, now):
                    yield f"{name} is {_short(now)} in the status and {_short(then)} in {where}; nothing is appended"


def _short(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


def marker_step(meta: int | None, records: Records) -> Step:
    """Describe the marker."""
    try:
        found = marker.read(meta) if meta is not None else None
    except Malformed as error:
        return Step("marker", False, f"{error}; the commit moves it aside and uses the journal")
    except WorkspaceError as error:
        return Step("marker", None, str(error))
    if found is None:
        return Step("marker", False, f"there is no {layout.META_MARKER}")
    if found.workspace not in {records.workspace, *records.former}:
        return Step("marker", False, f"{layout.META_MARKER} names another workspace, {found.workspace}")
    if found.identity != records.identity:
        other = f"updated {found.updated_at.text}, run {found.runs}"
        return Step("marker", False, f"{layout.META_MARKER} is for another commit ({other})")
    records.marked = True
    moved = ""
    if found.workspace != records.workspace:
        moved = f"; the workspace was moved, and its commit keeps its former name, {found.workspace}"
    return Step("marker", True, f"{layout.META_MARKER} has it, committed at {found.committed_at}{moved}")


def journal_step(meta: int | None, limits: Limits, records: Records) -> Step:
    """Describe its journal line."""
    if meta is None:
        return Step("journal", False, f"there is no {layout.META_JOURNAL}")
    try:
        return _read_journal(meta, limits, records)
    except WorkspaceError as error:
        return Step("journal", None if error.transient else False, str(error))


def _read_journal(meta: int, limits: Limits, records: Records) -> Step:
    journal = open_journal(meta, limits, append=False)
    if journal.descriptor is None:
        return Step("journal", False, f"there is no {layout.META_JOURNAL}")
    own = former = foreign = 0
    try:
        for found in journal.records():
            if found.workspace not in {records.workspace, *records.former}:
                foreign += 1
                continue
            own += 1
            former += found.workspace != records.workspace
            if found.identity == records.identity and records.line is None:
                records.line = found
    finally:
        journal.close()
    held = f"{layout.META_JOURNAL} has its line" if records.line else f"{layout.META_JOURNAL} has no line of it"
    words = [held + (f", committed at {records.line_at}" if records.line else "")]
    words.append(
        f"{counted(own, 'line')} in all" + (f", {former} from before the workspace was moved" if former else "")
    )
    if foreign:
        words.append(f"{counted(foreign, 'line')} of another workspace skipped")
    return Step("journal", records.line is not None, "; ".join(words + journal.warnings))


def row_step(rows: Sequence[Mapping[str, Any]] | None, error: str, records: Records) -> Step:
    """Describe its history row; `rows` are all of the workspace, None when not available because of `error`."""
    if rows is None:
        records.row_unknown = True
        return Step("row", None, f"the history is not available: {error}")
    utc, runs = records.status.updated_at.utc(), records.status.runs
    records.row = next((row for row in rows if (row["updated_utc"], row["runs"]) == (utc, runs)), None)
    others = len(rows) - (records.row is not None)
    more = f"; {counted(others, 'other commit')} of this workspace" if others else ""
    if records.row is None:
        return Step("row", False, f"the history has no row of it{more}")
    return Step("row", True, f"the history has its row, id {records.row['id']}{more}")
