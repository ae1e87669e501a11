"""Do status, marker, journal lines and rows of one workspace agree, both ways? Pure: what was read is passed in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field

from agentic_watch.history.store import Key


@dataclass(frozen=True, slots=True)
class OnDisk:
    """What a workspace holds: the identities (`updated_utc`, runs) of its status, marker and journal lines.

    `finished` is that of the status when it says that the dispatch is finished, `waited` the seconds since that was
    written. None: it is not there. `said` is the content of that status, `contents` that of the lines, `status` the
    word in it.
    """

    finished: Key | None = None
    waited: float = 0.0
    marked: Key | None = None
    lines: Set[Key] = field(default_factory=frozenset)
    said: int = 0
    contents: Mapping[Key, int] = field(default_factory=dict)
    status: str = ""


def disagreements(disk: OnDisk, rows: Set[Key], pruned_before: str, patience: float) -> Iterator[str]:
    """Each thing that one of the records has and another lacks, in words that go behind the workspace's name.

    What is older than `pruned_before` ("" when nothing was) may lack its row. A finished status that is younger than
    `patience` seconds need not have been committed yet.
    """
    recent = {key for key in disk.lines if key[0] >= pruned_before}
    for key in sorted(recent - rows):
        yield f"{named(key)} has a journal line and no history row"
    for key in sorted(rows - disk.lines):
        yield f"{named(key)} has a history row and no journal line"
    known = rows | disk.lines
    done = disk.finished
    if done is not None and done[0] >= pruned_before:
        if done not in known and disk.waited > patience:
            yield f"{named(done)} is finished and not committed"
        elif done in known and disk.marked != done and disk.waited > patience:
            how = "is missing" if disk.marked is None else "names another"
            yield f"{named(done)} is committed and its marker {how}"
    marked = disk.marked
    if marked is not None and marked not in known and marked[0] >= pruned_before:
        yield f"{named(marked)} has a marker, which neither a row nor a journal line confirms"


def contradictions(disk: OnDisk, rows: Mapping[Key, int]) -> Iterator[str]:
    """Each record that says otherwise than the row of its identity, whose content `rows` has."""
    for key in sorted(disk.contents.keys() & rows.keys()):
        if disk.contents[key] != rows[key]:
            yield f"{named(key)}: its journal line and its history row differ in status, task or question"
    done = disk.finished
    if done is not None and done in rows and disk.said != rows[done]:
        yield f"{named(done)}: its status says otherwise (status, task or question) than its history row"


def named(key: Key) -> str:
    """A commit in a message."""
    return f"run {key[1]} of {key[0]}"
