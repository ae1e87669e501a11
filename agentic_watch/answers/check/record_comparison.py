"""What lies in one workspace: its status, marker and journal, read as the check needs them.

What the history holds of workspaces that are looked at: their rows, and those that lines of other names speak of.

Do status, marker, journal lines and rows of one workspace agree, both ways? Pure: what was read is passed in.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from agentic_watch.config import Config, Root
from agentic_watch.history import opening
from agentic_watch.history.commit_lookup import Key
from agentic_watch.history.pruned import is_pruned
from agentic_watch.history.rows import HOST
from agentic_watch.history.store import marks
from agentic_watch.workspace import journal, marker, status
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.layout import name_problem
from agentic_watch.workspace.marker import Marker
from agentic_watch.workspace.place import Opener, Place
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.redactor import may_be_redacted
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Malformed

Dispatch = int
"""Of started_utc, org, repo, task, agent and branch: what a dispatch's commits have in common, and no other dispatch of
its name. A number: a task can be a megabyte."""


class Line(NamedTuple):
    """A journal line, or what a status says: what its texts are (`content`), of which dispatch it is, when it was
    committed ("": a status)."""

    content: int | None
    dispatch: Dispatch
    committed_at: str = ""


class RecordedRow(NamedTuple):
    """A history row. `is_ours`: of this host, not one that was imported; `stays`: its workspace was not moved away, as
    far as the history knows, nor here; `came`: it was moved here."""

    content: int | None
    dispatch: Dispatch
    is_ours: bool = True
    stays: bool = True
    came: bool = False


Rows = Mapping[Key, Sequence[RecordedRow]]
"""By identity the rows of a workspace: the one that was committed there, then those that came."""


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What a workspace holds: the identities (`updated_utc`, runs) of its status, marker and journal lines.

    `finished` is that of the status when it says that the dispatch is finished, `waited` the seconds since that was
    written. None: it is not there. `said` is what that status says. `moved` are the identities under another name
    or root that have a row there. `standing` are the dispatches that status and own lines tell of, `foreign` what the
    lines tell of that bear other names.
    """

    finished: Key | None = None
    waited: float = 0.0
    marked: Key | None = None
    marked_at: str = ""
    lines: Mapping[Key, Line] = field(default_factory=dict)
    said: Line | None = None
    moved: Set[Key] = frozenset()
    standing: Set[Dispatch] = frozenset()
    foreign: Set[tuple[Key, Dispatch]] = frozenset()


def content(status: str, task: str, question: str) -> int | None:
    """The texts that two records of one identity should share, as a number: a task can be a megabyte. None when
    secrets were taken out of them: nothing tells then what they were."""
    return None if may_be_redacted(f"{task}\0{question}") else hash((status, task, question))


def dispatch_of(told: Status | Record) -> Dispatch:
    """Which dispatch a status or a line tells of."""
    started = told.started_at.utc_if_set()
    return dispatch(started, told.org, told.repo, told.task, told.agent, told.branch)


def dispatch(started_utc: str | None, *texts: str) -> Dispatch:
    """The dispatch of these: org, repo, task, agent and branch."""
    return hash((started_utc, *texts))


def disagreements(disk: OnDisk, rows: Rows, pruned_before: str, patience: float) -> Iterator[str]:
    """Each thing that one of the records has and another lacks, in words that go behind the workspace's name.

    What is older than `pruned_before` ("" when nothing was) may lack its row. A finished status that is younger than
    `patience` seconds need not have been committed yet. `missing_lines` are said by the caller.
    """
    known = rows.keys() | disk.moved
    for key in sorted(disk.lines.keys() - known):
        if not is_pruned(key[0], disk.lines[key].committed_at, pruned_before):
            yield f"{named(key)} has a journal line and no history row"
    known = known | disk.lines.keys()
    done = disk.finished
    if done is not None and not _is_done(done, disk, pruned_before):
        if done not in known and disk.waited > patience:
            yield f"{named(done)} is finished and not committed"
        elif done in known and disk.marked != done and disk.waited > patience:
            how = "is missing" if disk.marked is None else "names another"
            yield f"{named(done)} is committed and its marker {how}"
    marked = disk.marked
    if marked is not None and marked not in known and not is_pruned(marked[0], disk.marked_at, pruned_before):
        yield f"{named(marked)} has a marker, which neither a row nor a journal line confirms"


def _is_done(done: Key, disk: OnDisk, pruned_before: str) -> bool:
    """Whether a finished status is taken for done since its row would have been pruned."""
    if done in disk.lines:
        return is_pruned(done[0], disk.lines[done].committed_at, pruned_before)
    return is_pruned(done[0], disk.marked_at if disk.marked == done else "", pruned_before)


def missing_lines(disk: OnDisk, rows: Rows) -> Iterator[Key]:
    """The rows that should have a line here and have none, under whatever name.

    Not those of other hosts, of workspaces that were moved, or of another dispatch that had this name before.
    """
    for key in sorted(rows.keys() - disk.lines.keys()):
        row = rows[key][0]
        if row.is_ours and row.stays and row.dispatch in disk.standing and (key, row.dispatch) not in disk.foreign:
            yield key


def older_lines(disk: OnDisk, rows: Rows, pruned_before: str) -> Iterator[Key]:
    """The lines without a row that are as old as what was pruned: they were pruned, or never were in the history."""
    for key in disk.lines.keys() - rows.keys() - disk.moved:
        if is_pruned(key[0], disk.lines[key].committed_at, pruned_before):
            yield key


def contradictions(disk: OnDisk, rows: Rows) -> Iterator[str]:
    """Each record that says otherwise than this host's row of its identity."""
    for key in sorted(disk.lines.keys() & rows.keys()):
        if _differ(disk.lines[key], rows[key], disk.standing):
            yield f"{named(key)}: its journal line and its history row differ in status, task or question"
    done, said = disk.finished, disk.said
    if done is not None and said is not None and _differ(said, rows.get(done, ()), disk.standing):
        yield f"{named(done)}: its status says otherwise (status, task or question) than its history row"


def _differ(said: Line, rows: Sequence[RecordedRow], standing: Set[Dispatch]) -> bool:
    """Whether a record says otherwise than its row: one that came is that of its own dispatch only.

    A row whose workspace was moved away is of interest where its dispatch stands.
    """
    row = next((row for row in rows if not row.came or row.dispatch == said.dispatch), None)
    if row is None or not row.is_ours or not (row.stays or row.dispatch in standing):
        return False
    return None not in (said.content, row.content) and said.content != row.content


def named(key: Key) -> str:
    """A commit in a message."""
    return f"run {key[1]} of {key[0]}"


_TEXTS = "d.status, d.task, d.question, d.started_utc, d.org, d.repo, d.task, d.agent, d.branch"
_ASKED_AT_ONCE = 200

Told = tuple[str, str, int]
"""(workspace, updated_utc, runs), as a line or a marker names a commit."""


def rows_of(history: str, root: Root, workspaces: Sequence[str]) -> dict[str, Rows]:
    """By workspace, the rows that were committed there, or whose workspace is there now. Raises HistoryError."""
    found: dict[str, dict[Key, list[RecordedRow]]] = {}
    names = {os.path.join(root.path, name): name for name in workspaces}
    with opening.reading(history) as connection:
        for known, column, given in (
            ("d.root = ?", "workspace", (root.key, *workspaces)),
            ("d.root = ?", "moved_to", (root.key, *workspaces)),
            ("d.root IN (SELECT root FROM roots)", "moved_to", tuple(names)),
        ):
            sql = (
                f"SELECT d.{column}, d.moved_to, d.host, d.updated_utc, d.runs, {_TEXTS} FROM dispatch_history AS d "
                f"WHERE {known} AND d.{column} IN ({marks(list(workspaces))})"
            )
            for place, moved_to, host, utc, runs, *texts in connection.execute(sql, given):
                told = content(*texts[:3]), dispatch(*texts[3:])
                row = RecordedRow(*told, host == HOST, stays=moved_to is None, came=column == "moved_to")
                found.setdefault(names.get(place, place), {}).setdefault((utc, runs), []).append(row)
    return dict(found)


def dispatches_of(history: str, told: Collection[Told]) -> dict[Told, set[Dispatch]]:
    """Of those commits that have a row, under whatever root: which dispatches these are of. Raises HistoryError."""
    found: dict[Told, set[Dispatch]] = {}
    asked = sorted(told)
    with opening.reading(history) as connection:
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
        said = self.status
        own = {(self.name, *key): line.dispatch for key, line in self.own.items()}
        confirmed = {told for told, one in (own | self.foreign).items() if one in known.get(told, ())}
        marked = self._marked
        if marked is not None and self.marker is not None:
            told = self.marker.workspace, *marked
            of_rows = known.get(told, ())
            # A marker holds no dispatch: the status tells which it is, while it still is of that commit.
            if of_rows and (marked != _key(said) or dispatch_of(said) in of_rows):
                confirmed.add(told)
            elif told not in confirmed and (of_rows or self.marker.workspace != self.name):
                marked = None  # it came with a copy: another dispatch's
        return OnDisk(
            finished=_key(said) if self.is_finished else None,
            waited=self.waited,
            marked=marked,
            marked_at=self.marker.committed_at if self.marker is not None else "",
            lines=self.own,
            said=Line(content(said.status, said.task, said.question), dispatch_of(said)),
            moved={(utc, runs) for _, utc, runs in confirmed},
            standing={dispatch_of(said), *(line.dispatch for line in self.own.values())},
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
