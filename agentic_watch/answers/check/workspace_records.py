"""What lies in one workspace: its status, marker and journal, read as the check needs them.

What the history holds of workspaces that are looked at: their rows, and those that lines of other names speak of.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from agentic_watch.answers.check.parity import Dispatch, Line, OnDisk, RecordedRow, content, dispatch, dispatch_of
from agentic_watch.commit.row_buffer import HOST
from agentic_watch.config import Config, Root
from agentic_watch.history import queries
from agentic_watch.history.store import Key, marks
from agentic_watch.workspace import journal, marker, status
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.layout import name_problem
from agentic_watch.workspace.marker import Marker
from agentic_watch.workspace.place import Opener, Place
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Malformed

_TEXTS = "d.status, d.task, d.question, d.started_utc, d.org, d.repo, d.task, d.agent, d.branch"
_ASKED_AT_ONCE = 200

Told = tuple[str, str, int]
"""(workspace, updated_utc, runs), as a line or a marker names a commit."""


def rows_of(history: str, root: Root, workspaces: Sequence[str]) -> dict[str, dict[Key, RecordedRow]]:
    """By workspace, the rows that were committed there, or whose workspace is there now. Raises HistoryError."""
    found: dict[str, dict[Key, RecordedRow]] = {}
    names = {os.path.join(root.path, name): name for name in workspaces}
    with queries.reading(history) as connection:
        for known, column, given in (
            ("d.root IN (SELECT root FROM roots)", "moved_to", tuple(names)),
            ("d.root = ?", "moved_to", (root.key, *workspaces)),
            ("d.root = ?", "workspace", (root.key, *workspaces)),
        ):
            sql = (
                f"SELECT d.{column}, d.moved_to, d.host, d.updated_utc, d.runs, {_TEXTS} FROM dispatch_history AS d "
                f"WHERE {known} AND d.{column} IN ({marks(list(workspaces))})"
            )
            for place, moved_to, host, utc, runs, *texts in connection.execute(sql, given):
                row = RecordedRow(content(*texts[:3]), dispatch(*texts[3:]), host == HOST, moved_to is None)
                found.setdefault(names.get(place, place), {})[utc, runs] = row
    return found


def dispatches_of(history: str, told: Collection[Told]) -> dict[Told, set[Dispatch]]:
    """Of those commits that have a row, under whatever root: which dispatches these are of. Raises HistoryError."""
    found: dict[Told, set[Dispatch]] = {}
    asked = sorted(told)
    with queries.reading(history) as connection:
        for start in range(0, len(asked), _ASKED_AT_ONCE):
            some = asked[start : start + _ASKED_AT_ONCE]
            sql = (
                f"WITH told (workspace, updated_utc, runs) AS (VALUES {', '.join(['(?, ?, ?)'] * len(some))}) "
                f"SELECT d.workspace, d.updated_utc, d.runs, {_TEXTS} FROM told CROSS JOIN dispatch_history AS d "
                "ON d.root IN (SELECT root FROM roots) AND d.workspace = told.workspace "
                "AND d.updated_utc = told.updated_utc AND d.runs = told.runs"
            )
            for workspace, utc, runs, *texts in connection.execute(sql, tuple(chain.from_iterable(some))):
                found.setdefault((workspace, utc, runs), set()).add(dispatch(*texts[3:]))
    return found


@dataclass(slots=True)
class WorkspaceRecords:
    """`own` are the lines that name this workspace, `foreign` those that name others: by what they name, the dispatch.

    `warnings` tell of lines that are no records.
    """

    name: str
    status: Status
    is_finished: bool
    waited: float
    marker: Marker | None = None
    own: dict[Key, Line] = field(default_factory=dict)
    foreign: dict[Told, Dispatch] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many lines it holds."""
        return len(self.own) + len(self.foreign)

    def elsewhere(self, rows: Collection[Key]) -> Iterator[Told]:
        """What it tells of commits that have no row under its name."""
        yield from self.foreign
        yield from ((self.name, *key) for key in self.own.keys() - set(rows))
        if self.marker is not None and not (self.marker.workspace == self.name and _key(self.marker) in rows):
            yield self.marker.workspace, *_key(self.marker)

    def on_disk(self, known: Mapping[Told, Collection[Dispatch]]) -> OnDisk:
        """All of it; `known` are the dispatches of those commits that have a row under another name or root."""
        own = {(self.name, *key): line.dispatch for key, line in self.own.items()}
        confirmed = {told for told, one in (own | self.foreign).items() if one in known.get(told, ())}
        marked = self._marked
        if marked is not None and self.marker is not None:
            told = self.marker.workspace, *marked
            of_rows = known.get(told, ())
            # A marker holds no dispatch: the status tells which it is, while it still is of that commit.
            if of_rows and (marked != _key(self.status) or dispatch_of(self.status) in of_rows):
                confirmed.add(told)
            elif self.marker.workspace != self.name and told not in confirmed:
                marked = None
        return OnDisk(
            finished=_key(self.status) if self.is_finished else None,
            waited=self.waited,
            marked=marked,
            marked_at=self.marker.committed_at if self.marker is not None else "",
            lines=self.own,
            said=content(self.status.status, self.status.task, self.status.question),
            moved={(utc, runs) for _, utc, runs in confirmed},
            standing={dispatch_of(self.status), *(line.dispatch for line in self.own.values())},
            foreign={((utc, runs), one) for (_, utc, runs), one in self.foreign.items()},
        )

    @property
    def _marked(self) -> Key | None:
        return _key(self.marker) if self.marker is not None else None


def read_records(config: Config, candidate: Candidate, now: float) -> WorkspaceRecords:
    """Read a workspace. Raises WorkspaceError."""
    opener = Opener()
    try:
        place = opener.open(candidate.root.path, candidate.name)
        try:
            return read_place(config, candidate, place, now)
        finally:
            place.close()
    finally:
        opener.close()


def read_place(config: Config, candidate: Candidate, place: Place, now: float) -> WorkspaceRecords:
    """Read a workspace that is open. Raises WorkspaceError."""
    said = status.read(place.directory, place.meta, candidate.root, config.limits).status
    found = WorkspaceRecords(candidate.name, said, said.status in config.finished, now - candidate.changed_at)
    if place.meta is None:
        return found
    with contextlib.suppress(Malformed):  # the next commit moves it aside
        found.marker = marker.read(place.meta)
    opened = journal.open_journal(place.meta, config.limits, append=False)
    try:
        for line in opened.records():
            key = line.updated_at.utc(), line.runs
            if line.workspace == candidate.name:
                said_content = content(line.status, line.task, line.question)
                found.own.setdefault(key, Line(said_content, dispatch_of(line), line.committed_at))
            elif not name_problem(line.workspace):
                found.foreign.setdefault((line.workspace, *key), dispatch_of(line))
        found.warnings = tuple(opened.warnings)
    finally:
        opened.close()
    return found


def _key(told: Status | Marker | Record) -> Key:
    return told.updated_at.utc(), told.runs
