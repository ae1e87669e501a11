"""Do status, marker, journal lines and rows of one workspace agree, both ways? Pure: what was read is passed in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from agentic_watch.history.pruned import is_pruned
from agentic_watch.history.store import Key
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.redactor import may_be_redacted
from agentic_watch.workspace.status import Status

Dispatch = int
"""Of started_utc, org, repo, task, agent and branch: what a dispatch's commits have in common, and no other dispatch of
its name. A number: a task can be a megabyte."""


class Line(NamedTuple):
    """A journal line: what its texts are (`content`), of which dispatch it is, when it was committed."""

    content: int | None
    dispatch: Dispatch
    committed_at: str = ""


class RecordedRow(NamedTuple):
    """A history row. `is_ours`: of this host, not one that was imported; `stays`: its workspace was not moved away, as
    far as the history knows, nor here."""

    content: int | None
    dispatch: Dispatch
    is_ours: bool = True
    stays: bool = True


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What a workspace holds: the identities (`updated_utc`, runs) of its status, marker and journal lines.

    `finished` is that of the status when it says that the dispatch is finished, `waited` the seconds since that was
    written. None: it is not there. `said` is the content of that status. `moved` are the identities under another name
    or root that have a row there. `standing` are the dispatches that status and own lines tell of.
    """

    finished: Key | None = None
    waited: float = 0.0
    marked: Key | None = None
    marked_at: str = ""
    lines: Mapping[Key, Line] = field(default_factory=dict)
    said: int | None = 0
    moved: Set[Key] = frozenset()
    standing: Set[Dispatch] = frozenset()


def content(status: str, task: str, question: str) -> int | None:
    """The texts that two records of one identity should share, as a number: a task can be a megabyte. None when
    secrets were taken out of them: nothing tells then what they were."""
    return None if may_be_redacted(f"{task}\0{question}") else hash((status, task, question))


def dispatch_of(told: Status | Record) -> Dispatch:
    """Which dispatch a status or a line tells of."""
    started = None if told.started_at.is_zero else told.started_at.utc()
    return dispatch(started, told.org, told.repo, told.task, told.agent, told.branch)


def dispatch(started_utc: str | None, *texts: str) -> Dispatch:
    """The dispatch of these: org, repo, task, agent and branch."""
    return hash((started_utc, *texts))


def disagreements(disk: OnDisk, rows: Mapping[Key, RecordedRow], pruned_before: str, patience: float) -> Iterator[str]:
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


def missing_lines(disk: OnDisk, rows: Mapping[Key, RecordedRow]) -> Iterator[Key]:
    """The rows that should have a line here and have none.

    Not those of other hosts, of workspaces that were moved, or of another dispatch that had this name before.
    """
    for key in sorted(rows.keys() - disk.lines.keys()):
        row = rows[key]
        if row.is_ours and row.stays and row.dispatch in disk.standing:
            yield key


def older_lines(disk: OnDisk, rows: Mapping[Key, RecordedRow], pruned_before: str) -> Iterator[Key]:
    """The lines without a row that are as old as what was pruned: they were pruned, or never were in the history."""
    for key in disk.lines.keys() - rows.keys() - disk.moved:
        if is_pruned(key[0], disk.lines[key].committed_at, pruned_before):
            yield key


def contradictions(disk: OnDisk, rows: Mapping[Key, RecordedRow]) -> Iterator[str]:
    """Each record that says otherwise than this host's row of its identity.

    A row whose workspace was moved is of interest where its dispatch stands.
    """
    ours = {key: row for key, row in rows.items() if row.is_ours and (row.stays or row.dispatch in disk.standing)}
    for key in sorted(disk.lines.keys() & ours.keys()):
        if _differ(disk.lines[key].content, ours[key].content):
            yield f"{named(key)}: its journal line and its history row differ in status, task or question"
    done = disk.finished
    if done is not None and done in ours and _differ(disk.said, ours[done].content):
        yield f"{named(done)}: its status says otherwise (status, task or question) than its history row"


def _differ(one: int | None, other: int | None) -> bool:
    return None not in (one, other) and one != other


def named(key: Key) -> str:
    """A commit in a message."""
    return f"run {key[1]} of {key[0]}"
