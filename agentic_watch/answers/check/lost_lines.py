"""Journal lines that are gone while the history has their rows: written again, from the rows."""

from __future__ import annotations

from collections.abc import Iterator

from agentic_watch.config import Config
from agentic_watch.fleet import interchange
from agentic_watch.fleet.interchange import Commit
from agentic_watch.history import queries
from agentic_watch.history.columns import FINDING_COLUMNS
from agentic_watch.workspace import journal, record
from agentic_watch.workspace.layout import META, Candidate
from agentic_watch.workspace.place import Place, open_place
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.workspace_errors import WorkspaceError

_ROWS = "SELECT * FROM dispatch_history WHERE root = ? AND workspace = ? ORDER BY id"
_FINDINGS = f"""
SELECT {", ".join(f'"{name}"' for name in FINDING_COLUMNS)} FROM findings WHERE dispatch_id = ? ORDER BY id"""


def restore(config: Config, candidate: Candidate) -> int:
    """Append a line for each row of a workspace that has none; gives how many. Raises WorkspaceError, HistoryError."""
    place = open_place(candidate.root.path, candidate.name)
    try:
        place.make_meta()
        if not place.lock():
            raise WorkspaceError(META, "is held by another process", passing=True)
        return _append_missing(config, candidate, place)
    finally:
        place.close()


def _append_missing(config: Config, candidate: Candidate, place: Place) -> int:
    assert place.meta is not None
    opened = journal.open_journal(place.meta, config.limits)
    try:
        there = {one.identity for one in opened.records() if one.workspace == candidate.name}
        missing = [one for one in _recorded(config.history, candidate) if one.identity not in there]
        for one in missing:
            opened.append(one.line())
        if missing:
            opened.sync()
        return len(missing)
    finally:
        opened.close()


def _recorded(history: str, candidate: Candidate) -> Iterator[Record]:
    """What the history holds of a workspace, oldest first."""
    with queries.reading(history) as connection:
        cursor = connection.execute(_ROWS, (candidate.root.key, candidate.name))
        names = [column[0] for column in cursor.description]
        for values in cursor.fetchall():
            row = dict(zip(names, values, strict=True))
            commit = Commit(row, connection.execute(_FINDINGS, (row["id"],)).fetchall())
            yield record.from_line(interchange.line(interchange.document(commit, host_id="")).encode("utf-8"))
