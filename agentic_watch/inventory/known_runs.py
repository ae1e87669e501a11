"""What is known of an open run once its workspace was read again, under this name or another; its status as text."""

from __future__ import annotations

import json
import sqlite3
from contextlib import suppress
from typing import Any

from agentic_watch.history import open_runs_table as table
from agentic_watch.history.open_runs_table import REMOVED, OpenRun
from agentic_watch.host import digests
from agentic_watch.workspace import status
from agentic_watch.workspace.candidate import Key
from agentic_watch.workspace.record import dispatch_of
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Malformed

_LONGEST_TEXT = 4000


def write_run(connection: sqlite3.Connection, key: Key, place: tuple[str, str, int], read: OpenRun | None) -> None:
    """Write what was read of one workspace over what was known of it, under this name and former ones."""
    directory, dispatch, runs = place
    before = table.get(connection, key)
    former = [
        run
        for run in (table.in_directory(connection, directory) if directory else ())
        if run.key != key and (run.dispatch, run.runs) == (dispatch, runs)
    ]
    if read is None:
        table.delete(connection, [key] * (before is not None))
    else:
        moved = former[0]._replace(root=key[0], workspace=key[1]) if former else None
        table.put(connection, [_merged(before or moved, read)])
    table.delete(connection, [run.key for run in former])


def _merged(before: OpenRun | None, read: OpenRun) -> OpenRun:
    """What is known of a run once its workspace was read again.

    The same status names the same process, whoever has that number by now. Another one that names the same process of
    the same run may have come when that was gone: it was seen alive before.
    """
    if before is None:
        return read
    as_before = read._replace(boot=before.boot, namespaces=before.namespaces, began=before.began)
    if before.identity == read.identity:
        gone = 0 if before.gone == REMOVED else before.gone
        since = before.since if gone else max(before.since, read.since)
        is_news = read.began is not None and (
            (before.began is None and before.boot in (read.boot, table.EARLIER_BOOT))
            or before.namespaces != read.namespaces
        )
        return (read if is_news else as_before)._replace(recorded=before.recorded, gone=gone, since=since)
    is_same_run = (before.pid, before.runs, before.dispatch) == (read.pid, read.runs, read.dispatch)
    is_from_here = (before.boot, before.namespaces) == (read.boot, read.namespaces)
    if read.began is None and before.began is not None and is_same_run and is_from_here:
        return as_before._replace(since=max(before.since, read.since))
    return read


def digest(said: Status) -> str:
    """What does not change while a dispatch goes on, in few bytes: its task may be a megabyte."""
    found: str = digests.blake2b(json.dumps(dispatch_of(said)).encode(), digest_size=16).hexdigest()
    return found


def as_json(said: Status) -> str:
    """A status as text, without the rest of long texts."""
    fields: dict[str, Any] = {name: v[:_LONGEST_TEXT] for name, v in said._asdict().items() if isinstance(v, str)}
    fields |= {"updated_at": said.updated_at.text, "started_at": said.started_at.text}
    return json.dumps(fields | {"issue": said.issue, "pid": said.pid, "runs": said.runs})


def from_json(text: str) -> Status | None:
    """The status of such a text; None for what is none."""
    with suppress(Malformed):
        return status.parse(text.encode("utf-8", "surrogatepass"), "open_runs")
    return None
