"""Compares the records of a workspace: status, marker and journal on disk with the rows of the history, in both
directions.

Reading is separate from comparing. `read_records` reads a workspace, `rows_of` the rows under its name, `dispatches_of`
the rows of its records that have another name. `WorkspaceRecords.on_disk` is what the comparing functions take, which
are pure. The words for names are those of `commit/moved_workspaces`.
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
from agentic_watch.workspace.place import Place, open_place
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.redactor import may_be_redacted
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Malformed

Dispatch = int
"""A hash of started_utc, org, repo, task, agent and branch, which distinguish dispatches of one name. A hash, since a
task can be a megabyte."""


class Line(NamedTuple):
    """A journal line or a status: a hash of its texts (`content`), its dispatch, and when it was committed ("" for a
    status)."""

    content: int | None
    dispatch: Dispatch
    committed_at: str = ""


class RecordedRow(NamedTuple):
    """A history row. `is_ours`: from this host, not imported; `moved_away`, `moved_here`: its workspace was moved, as
    far as the history knows."""

    content: int | None
    dispatch: Dispatch
    is_ours: bool = True
    moved_away: bool = False
    moved_here: bool = False


Rows = Mapping[Key, Sequence[RecordedRow]]
"""The rows of a workspace by identity: first the one committed there, then those moved there."""


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A workspace's records by identity (`updated_utc`, runs); None when missing.

    `finished` is a finished status, `waited` the seconds since it was written, `said` its content. `marked` is the
    marker, `marked_at` its committed_at. `lines` are the journal lines under the workspace's name, `others` those under
    another recorded name. `moved` are lines and marker whose row has another name or root; `standing` are the
    dispatches of the status and of `lines`. `is_held`: another process holds it, and the marker is not the status's.
    """

    finished: Key | None = None
    waited: float = 0.0
    marked: Key | None = None
    marked_at: str = ""
    lines: Mapping[Key, Line] = field(default_factory=dict)
    said: Line | None = None
    moved: Set[Key] = frozenset()
    standing: Set[Dispatch] = frozenset()
    others: Set[tuple[Key, Dispatch]] = frozenset()
    is_held: bool = False

    def is_pruned(self, key: Key, pruned_before: str) -> bool:
        """Whether the row of a record would have been pruned."""
        if key in self.lines:
            return is_pruned(key[0], self.lines[key].committed_at, pruned_before)
        return is_pruned(key[0], self.marked_at if self.marked == key else "", pruned_before)


def content(status: str, task: str, question: str) -> int | None:
    """A hash of the texts that two records of one identity should share, since a task can be a megabyte. None when
    texts were redacted, because the original is unknown."""
    return None if may_be_redacted(f"{task}\0{question}") else hash((status, task, question))


def dispatch_of(told: Status | Record) -> Dispatch:
    """The dispatch of a status or a line."""
    started = told.started_at.utc_if_set()
    return dispatch(started, told.org, told.repo, told.task, told.agent, told.branch)


def dispatch(started_utc: str | None, *texts: str) -> Dispatch:
    """The dispatch of started_utc and `texts`: org, repo, task, agent and branch."""
    return hash((started_utc, *texts))


def disagreements(disk: OnDisk, rows: Rows, pruned_before: str, patience: float) -> Iterator[str]:
    """Yield each record that another one lacks, in words that follow the workspace's name.

    Rows older than `pruned_before` ("" for none) may be missing. A finished status younger than `patience` seconds need
    not be committed yet, nor have a marker while it is held. The caller reports `missing_lines`.
    """
    known = rows.keys() | disk.moved
    for key in sorted(disk.lines.keys() - known):
        if not disk.is_pruned(key, pruned_before):
            yield f"{named(key)} has a journal line and no history row"
    known = known | disk.lines.keys()
    done, marked = disk.finished, disk.marked
    if done is not None and not disk.is_pruned(done, pruned_before):
        if done not in known and disk.waited > patience:
            yield f"{named(done)} is finished and not committed"
        elif done in known and marked != done and not disk.is_held:
            yield f"{named(done)} is committed and its marker {'is missing' if marked is None else 'names another'}"
    if marked is not None and marked not in known and not disk.is_pruned(marked, pruned_before):
        yield f"{named(marked)} has a marker, which neither a row nor a journal line confirms"


def missing_lines(disk: OnDisk, rows: Rows) -> Iterator[Key]:
    """Rows that should have a line here, under any name, but have none.

    Not those of other hosts, of moved workspaces, or of an earlier dispatch with the same name.
    """
    for key in sorted(rows.keys() - disk.lines.keys()):
        row = rows[key][0]
        is_here = row.dispatch in disk.standing and (key, row.dispatch) not in disk.others
        if row.is_ours and not row.moved_away and is_here:
            yield key


def older_lines(disk: OnDisk, rows: Rows, pruned_before: str) -> Iterator[Key]:
    """Lines without a row that are older than the last prune: pruned, or never in the history."""
    for key in disk.lines.keys() - rows.keys() - disk.moved:
        if disk.is_pruned(key, pruned_before):
            yield key


def contradictions(disk: OnDisk, rows: Rows) -> Iterator[str]:
    """Yield each record that contradicts this host's row of the same identity."""
    for key in sorted(disk.lines.keys() & rows.keys()):
        if _differ(disk.lines[key], rows[key], disk.standing):
            yield f"{named(key)}: its journal line and its history row differ in status, task or question"
    done, said = disk.finished, disk.said
    if done is not None and said is not None and _differ(said, rows.get(done, ()), disk.standing):
        yield f"{named(done)}: its status and its history row differ in status, task or question"


def _differ(said: Line, rows: Sequence[RecordedRow], standing: Set[Dispatch]) -> bool:
    """Whether a record contradicts its row. A row that was moved here is compared with its own dispatch only.

    A row whose workspace was moved away is compared where its dispatch is now.
    """
    row = next((row for row in rows if not row.moved_here or row.dispatch == said.dispatch), None)
    if row is None or not row.is_ours or (row.moved_away and row.dispatch not in standing):
        return False
    return None not in (said.content, row.content) and said.content != row.content


def named(key: Key) -> str:
    """The name of a commit in a message."""
    return f"run {key[1]} of {key[0]}"


_TEXTS = "d.status, d.task, d.question, d.started_utc, d.org, d.repo, d.task, d.agent, d.branch"
_ASKED_AT_ONCE = 200

Told = tuple[str, str, int]
"""(workspace, updated_utc, runs): how a line or marker names a commit."""


def rows_of(history: str, root: Root, workspaces: Sequence[str]) -> dict[str, Rows]:
    """The rows of each workspace, committed there or moved there. Raises HistoryError."""
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
                row = RecordedRow(*told, host == HOST, moved_to is not None, column == "moved_to")
                found.setdefault(names.get(place, place), {}).setdefault((utc, runs), []).append(row)
    return dict(found)


def dispatches_of(history: str, told: Collection[Told]) -> dict[Told, set[Dispatch]]:
    """The dispatches of those commits that have a row, in any root. Raises HistoryError."""
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
    """The records on disk: `own` are the lines under this workspace's name, `others` the dispatches of those under
    another recorded name. `warnings` report invalid lines."""

    name: str
    status: Status
    is_finished: bool
    waited: float
    marker: Marker | None = None
    is_held: bool = False
    own: dict[Key, Line] = field(default_factory=dict)
    others: dict[Told, Dispatch] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of lines."""
        return len(self.own) + len(self.others)

    def elsewhere(self, rows: Collection[Key]) -> Iterator[Told]:
        """Yield the commits in it that have no row under its name."""
        yield from self.others
        yield from ((self.name, *key) for key in self.own.keys() - set(rows))
        if self.marker is not None and not (self.marker.workspace == self.name and _key(self.marker) in rows):
            yield self.marker.workspace, *_key(self.marker)

    def on_disk(self, known: Mapping[Told, Collection[Dispatch]], rows: Rows) -> OnDisk:
        """The comparable form; `known` are the dispatches of commits with a row under another name or root, `rows` the
        rows of this workspace."""
        said = self.status
        lines = {(self.name, *key): line.dispatch for key, line in self.own.items()} | self.others
        confirmed = {told for told, one in lines.items() if one in known.get(told, ())}
        marked = _key(self.marker) if self.marker is not None else None
        if marked is not None and self.marker is not None:
            told = self.marker.workspace, *marked
            of_rows = known.get(told, ())
            # A marker does not name its dispatch: use the status, if it still has that identity.
            if of_rows and (marked != _key(said) or dispatch_of(said) in of_rows):
                confirmed.add(told)
            elif told not in confirmed and (of_rows or self.marker.workspace != self.name):
                # Copied with the directory: it belongs to another dispatch, unless that of the status was moved here.
                of_line = lines.get(told)  # a commit counts this line where its dispatch has a row
                came = [one.dispatch for one in rows.get(marked, ()) if one.moved_here or one.dispatch == of_line]
                came += [lines[told] for told in confirmed if told[1:] == marked]
                marked = marked if dispatch_of(said) in came else None
        return OnDisk(
            finished=_key(said) if self.is_finished else None,
            waited=self.waited,
            marked=marked,
            marked_at=self.marker.committed_at if self.marker is not None else "",
            lines=self.own,
            said=Line(content(said.status, said.task, said.question), dispatch_of(said)),
            moved={(utc, runs) for _, utc, runs in confirmed},
            standing={dispatch_of(said), *(line.dispatch for line in self.own.values())},
            others={((utc, runs), one) for (_, utc, runs), one in self.others.items()},
            is_held=self.is_held,
        )


def read_records(config: Config, candidate: Candidate, now: float) -> WorkspaceRecords:
    """Read a workspace. Raises WorkspaceError."""
    with contextlib.closing(open_place(candidate.root.path, candidate.name)) as place:
        return read_place(config, candidate, place, now)


def read_place(config: Config, candidate: Candidate, place: Place, now: float) -> WorkspaceRecords:
    """Read an open workspace. Raises WorkspaceError."""
    said = status.read(place.directory, place.meta, candidate.root, config.limits).status
    found = WorkspaceRecords(candidate.name, said, said.status in config.finished, now - candidate.changed_at)
    if place.meta is None:
        return found
    with contextlib.suppress(Malformed):  # an invalid marker is moved aside by the next commit
        found.marker = marker.read(place.meta)
    if found.is_finished and (found.marker is None or _key(found.marker) != _key(said)):
        found.is_held = place.is_held()
    with contextlib.closing(journal.open_journal(place.meta, config.limits, append=False)) as lines:
        for line in lines.records():
            key = _key(line)
            if line.workspace == candidate.name:
                texts = content(line.status, line.task, line.question)
                found.own.setdefault(key, Line(texts, dispatch_of(line), line.committed_at))
            elif not name_problem(line.workspace):
                found.others.setdefault((line.workspace, *key), dispatch_of(line))
        found.warnings = tuple(lines.warnings)
    return found


def _key(told: Status | Marker | Record) -> Key:
    return told.updated_at.utc(), told.runs
