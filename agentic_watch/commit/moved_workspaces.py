"""Recognises renamed, moved and copied directories, so that a dispatch is recorded once wherever its directory goes.

The journal and marker in the directory decide, not what exists at its former place. The words for names, here, in
`journal_search` and in `judging`:

- *name*: the path of the directory below its root now (`candidate.name`).
- *recorded name*: the name in a row, line or marker (`workspace`), which is that at the time of its commit.
- *former name*: another recorded name in its journal, of which it is certain that this directory had it; the lines of a
  *foreign* name are skipped, since an agent can write any.
- *place*: where the directory of a row was seen last (`moved_to`).
- *home*: the workspace that has a recorded name now, and holds lines under it: the original of a copy.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing

from agentic_watch.commit.open_workspace import OpenWorkspace, open_to_look, recorded_names
from agentic_watch.commit.outcome import Outcome, Verdict
from agentic_watch.commit.sightings import Sighting
from agentic_watch.config import Config, Limits, Root
from agentic_watch.history import HistoryError, commit_lookup
from agentic_watch.history.commit_lookup import ExistingRow
from agentic_watch.history.rows import Row, from_record
from agentic_watch.history.store import History
from agentic_watch.workspace import files, ghost_record, instant, layout, record, report
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.ghost_record import GhostRun
from agentic_watch.workspace.layout import name_problem
from agentic_watch.workspace.place import open_place
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.redactor import redactor
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Missing, WorkspaceError

_PLACES_LOOKED_AT = 8
"""Places from which a workspace came that are examined at most."""
_GONE = "removed before it was committed: recorded in the history from an earlier read; it has no line and no marker"


def row_of_dispatch(
    candidate: Candidate, said: Status | Record, names: Iterable[str], history: History
) -> ExistingRow | None:
    """The row of a dispatch that was recorded here or under one of `names`, or is here now. Raises HistoryError."""
    wanted = [commit_lookup.lookup_of(name, said) for name in names]
    found = commit_lookup.told(history, candidate.root, candidate.name, wanted) if wanted else []
    return next((row for _, row in found if row.is_dispatch), None)


def is_elsewhere(row: ExistingRow, candidate: Candidate) -> bool:
    """Whether a row was made under another name or in another root."""
    return (row.root, row.workspace) != candidate.key


def place_of(root: str, workspace: str, candidate: Candidate) -> str | None:
    """The value of `moved_to` for a row of this workspace: None if it did not move, its name in the same root, else its
    path."""
    if root != candidate.root.key:
        return os.path.join(candidate.root.path, candidate.name)
    return None if workspace == candidate.name else candidate.name


def record_place(rows: Collection[ExistingRow], workspace: OpenWorkspace, history: History) -> None:
    """Record in rows that this is their place now. A row that is the only record of a finish or a line at its last
    place is left alone: without it, that one would be recorded a second time. Raises HistoryError."""
    if history.read_only:
        return
    candidate, config = workspace.candidate, workspace.config
    new_places = {row: place_of(row.root, row.workspace, candidate) for row in rows}
    to_move = [row for row, place in new_places.items() if row.moved_to != place]
    places = _last_places(to_move, config.roots)
    if any(map(workspace.is_left_alone, places)):
        return  # what they are the only record of cannot be known now; a later look records the place
    kept = {row for place in places for row in _known_by_place(place, history, config)}
    by_place: dict[str | None, list[int]] = {}
    for row in (row for row in to_move if row.id not in kept):
        by_place.setdefault(new_places[row], []).append(row.id)
    for place, ids in by_place.items():
        commit_lookup.move(history, ids, place)


def _last_places(rows: Iterable[ExistingRow], roots: Sequence[Root]) -> list[Candidate]:
    """The places that `moved_to` of the rows names, within the roots and the limit."""
    by_key = {root.key: root.path for root in roots}
    paths = dict.fromkeys(os.path.join(by_key.get(row.root, ""), row.moved_to) for row in rows if row.moved_to)
    above = ((root, os.path.join(root.path, "")) for root in roots)
    found = (Candidate(root, path[len(top) :]) for root, top in above for path in paths if path.startswith(top))
    return [place for place in found if can_be_name(place.name, place.root.max_depth)][:_PLACES_LOOKED_AT]


def _known_by_place(place: Candidate, history: History, config: Config) -> Iterator[int]:
    """The ids of rows that are the only record of something at `place`: of its finish, if neither journal nor marker
    there record it, and of lines under its own name."""
    workspace = open_to_look(place, config)
    if isinstance(workspace, Outcome):
        return
    with closing(workspace):
        said = workspace.status if workspace.finished else None
        names = recorded_names(workspace) if said is not None else set()
        own = [line for line in workspace.short_journal() or () if line.workspace == place.name]
    if said is not None:
        found, _ = commit_lookup.held(history, place.root, [commit_lookup.lookup_of(place.name, said)])
        yield from (row.id for row in found.values() if row.workspace not in names)
    asked = [commit_lookup.lookup_of(place.name, line) for line in own]
    rows = commit_lookup.told(history, place.root, place.name, asked) if asked else []
    with_own_row = {number for number, row in rows if row.workspace == place.name}
    yield from (row.id for number, row in rows if number not in with_own_row)


def can_be_name(name: str, max_depth: int) -> bool:
    """Whether a line's `workspace` is a valid workspace name."""
    parts = name.split("/")
    return name_problem(name) is None and not {"", ".", ".."} & set(parts) and len(parts) <= max_depth


LinesAtHome = dict[tuple[object, ...], Root]
"""The lines (`line_key`) that homes have under their own name, with the root of each."""


def homes_of(name: str, workspace: OpenWorkspace) -> tuple[LinesAtHome, bool]:
    """The lines at the homes of a recorded name, those in the same root first, and whether a home in the same root may
    have lines of its own."""
    candidate, config = workspace.candidate, workspace.config
    lines: LinesAtHome = {}
    is_there = False
    for root in dict.fromkeys((candidate.root, *config.roots)):
        home = Candidate(root, name)
        own = set() if workspace.is_left_alone(home) else _own_lines(home, config)
        is_there |= own is not None and root.key == candidate.root.key
        lines = dict.fromkeys(own or (), root) | lines
    return lines, is_there


def line_key(line: Record) -> tuple[object, ...]:
    """The key by which equal lines of two journals are matched."""
    return line.identity, record.dispatch_of(line), line.committed_at


def _own_lines(home: Candidate, config: Config) -> set[tuple[object, ...]] | None:
    """The lines of a workspace under its own name; empty when they cannot be read.

    None when there is no workspace, or when all its lines have other names.
    """
    try:
        place = open_place(home.root.path, home.name)
    except WorkspaceError as error:  # not a directory, so not a workspace
        return set() if error.transient else None
    with closing(OpenWorkspace(home, place, config, None, b"")) as workspace:
        try:
            if layout.status_files(place.directory, "", home.root, home.name.count("/") + 1) is None:
                return None
        except OSError:
            return set()
        lines = workspace.short_journal()
    own = {line_key(line) for line in lines or () if line.workspace == home.name}
    return None if lines and not own else own


def record_removed(candidate: Candidate, seen: Sequence[Sighting], history: History, limits: Limits) -> Outcome:
    """Record finishes whose workspace was removed before they were committed: the only rows without lines."""
    now, without = instant.now_text(), redactor(limits.redact)
    rows: list[Row] = []
    try:
        pruned_before = commit_lookup.pruned_before(history)
        for one in seen:
            if not _is_recorded(candidate, one, history, pruned_before):
                content, _ = report.parse(one.report)
                made = record.from_status(candidate.name, one.status, content, now, without)
                rows.append(from_record(made, candidate.root.key))
        new = history.insert(rows)
    except HistoryError as error:
        return Outcome(candidate, Verdict.BUSY, f"removed before it was recorded in the history ({error})")
    if not new:
        return Outcome(candidate, Verdict.VANISHED, "is not there", is_gone=True)
    done = Outcome(candidate, Verdict.COMMITTED, status=seen[-1].status, committed_at=now, is_gone=True)
    return done._replace(warnings=(_GONE,))


def record_removed_run(gone: Outcome, end: GhostRun, history: History, limits: Limits) -> Outcome:
    """Record a run whose workspace was removed, unless its whole file system disappeared, which may come back."""
    candidate = gone.candidate
    if not end.is_removed or not _is_rest_there(candidate, end.device):
        return gone
    seen = Sighting(ghost_record.failed(end.said, is_removed=True), None, (0, 0))
    outcome = record_removed(candidate, [seen], history, limits)
    return outcome._replace(ended=outcome.is_gone, warnings=())


def _is_rest_there(candidate: Candidate, device: int | None) -> bool:
    """Whether the parent directories of a removed workspace still exist, on the same file system."""
    parts = candidate.name.split("/")[:-1]
    try:
        directory = files.open_root(candidate.root.path)
    except OSError:
        return False
    try:
        for part in parts:
            try:
                inner = files.open_directory(directory, part, part)
            except Missing:
                break
            os.close(directory)
            directory = inner
        return device is None or os.fstat(directory).st_dev == device
    except WorkspaceError:
        return False
    finally:
        os.close(directory)


def _is_recorded(candidate: Candidate, one: Sighting, history: History, pruned_before: str) -> bool:
    """Whether a finish has a row, under this name or one in its marker or line, or had one that was pruned.

    Raises HistoryError.
    """
    if row_of_dispatch(candidate, one.status, {candidate.name} | one.recorded_names, history) is not None:
        return True
    if one.status.updated_at.is_zero:  # it takes the age of its line, which is gone
        return bool(one.recorded_names) and pruned_before > ""
    return bool(one.recorded_names) and one.status.updated_at.utc() < pruned_before
