"""Journal lines that are gone while the history has their rows: written again, from the rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from agentic_watch.answers.check.parity import dispatch_of
from agentic_watch.answers.check.recorded_rows import HOST
from agentic_watch.answers.check.workspace_records import WorkspaceRecords, read_place
from agentic_watch.config import Config
from agentic_watch.fleet import interchange
from agentic_watch.fleet.interchange import Commit
from agentic_watch.history import queries
from agentic_watch.history.columns import FINDING_COLUMNS
from agentic_watch.history.store import Key
from agentic_watch.workspace import journal, record
from agentic_watch.workspace.layout import META, Candidate
from agentic_watch.workspace.place import Place, open_place
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.workspace_errors import WorkspaceError

# Never one of another host or of a workspace that was moved: its line lies elsewhere.
_ROWS = "SELECT * FROM dispatch_history WHERE root = ? AND workspace = ? AND host = ? AND moved_to IS NULL ORDER BY id"
_FINDINGS = f"""
SELECT {", ".join(f'"{name}"' for name in FINDING_COLUMNS)} FROM findings WHERE dispatch_id = ? ORDER BY id"""


def restore(config: Config, candidate: Candidate, missing: Collection[Key]) -> None:
    """Append a line for each row of these that has none, and have a torn last line moved aside.

    Only for rows of the dispatches that stand there now. Raises WorkspaceError, HistoryError.
    """
    place = open_place(candidate.root.path, candidate.name)
    try:
        place.make_meta()
        if not place.lock():
            raise WorkspaceError(META, "is held by another process", passing=True)
        there = read_place(config, candidate, place, now=candidate.changed_at)
        if missing or there.warnings:
            _append_missing(config, candidate, place, there, missing)
    finally:
        place.close()


def _append_missing(
    config: Config, candidate: Candidate, place: Place, there: WorkspaceRecords, missing: Collection[Key]
) -> None:
    assert place.meta is not None
    standing = there.on_disk({}).standing
    opened = journal.open_journal(place.meta, config.limits)
    try:
        if opened.descriptor is not None:
            opened.repair_tail()
        for recorded in _recorded(config.history, candidate):
            one = record.redacted(recorded, opened.without)
            key = one.updated_at.utc(), one.runs
            if key in missing and key not in there.own and dispatch_of(one) in standing:
                opened.append(one.line())
        if opened.descriptor is not None:
            opened.sync()
    finally:
        opened.close()


def _recorded(history: str, candidate: Candidate) -> Iterator[Record]:
    """What the history holds of a workspace, oldest first."""
    with queries.reading(history) as connection:
        cursor = connection.execute(_ROWS, (candidate.root.key, candidate.name, HOST))
        names = [column[0] for column in cursor.description]
        for values in cursor.fetchall():
            row = dict(zip(names, values, strict=True))
            commit = Commit(row, connection.execute(_FINDINGS, (row["id"],)).fetchall())
            yield record.from_line(interchange.line(interchange.document(commit, host_id="")).encode("utf-8"))
