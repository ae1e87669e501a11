"""Reads and replaces the status file; the only module that writes one. Also finds the shipped JSON Schemas of status
and report.

Written like core-agent does: temporary file, sync, rename, sync of the directory. A writer holds flock(2) on the
workspace's directory, which is independent of a commit's lock on `.meta`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from agentic_watch.config import Root
from agentic_watch.host.retry import every, wait_until
from agentic_watch.workspace import files, instant, layout
from agentic_watch.workspace import status as statuses
from agentic_watch.workspace.instant import Instant
from agentic_watch.workspace.jsontext import as_text, dump, load_object
from agentic_watch.workspace.place import Place
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Missing, WorkspaceError

Kind = Literal["status", "report"]


def path_of(kind: Kind) -> str:
    """Path of the schema file, for error messages about an invalid status or report."""
    return os.path.join(os.path.dirname(__file__), "schemas", f"{kind}.schema.json")


def text_of(kind: Kind) -> str:
    """The JSON Schema (2020-12)."""
    with open(path_of(kind), encoding="utf-8") as file:
        return file.read()


_LIMIT = 1 << 20
_PATIENCE_SECONDS = 10.0
_NAMES_AT_MOST = 10_000

_ORDER = (
    *("status", "agent", "repo", "org", "task", "branch", "issue", "pid", "process_id"),
    *("started_at", "updated_at", "question", "runs", "pr_url"),
)
_ALWAYS = frozenset({"status", "agent", "repo", "task", "started_at", "updated_at", "runs"})
"""Fields that core-agent always writes; it omits the others when they are empty."""


class Current(NamedTuple):
    """The status that counts: parsed, with all fields of the file, and whether it is the file beside `.meta/`."""

    status: Status
    fields: Mapping[str, Any]
    beside: bool


def lock(place: Place) -> None:
    """Lock this workspace's status for writing until the place is closed; waits up to 10 s."""
    if not wait_until(lambda: files.try_lock(place.directory, "the workspace"), every(0.01, _PATIENCE_SECONDS)):
        raise WorkspaceError("the workspace", f"is locked by another process for {_PATIENCE_SECONDS:.0f} s")


def current(place: Place, root: Root) -> Current | None:
    """Read the status, None when there is none: the newer of two, or the one in `.meta/` if equal.

    Raises WorkspaceError for an unreadable one, which must not be overwritten.
    """
    found = []
    places = [(place.meta, layout.META_STATUS, False), (place.directory, layout.STATUS, True)]
    for directory, label, beside in places:
        if directory is None or root.layout == ("meta" if beside else "root"):
            continue
        try:
            data = files.read(directory, layout.STATUS, label, _LIMIT).data
        except Missing:
            continue
        found.append(Current(statuses.parse(data, label), load_object(data, label), beside))
    return max(found, key=lambda one: one.status.updated_at.ns, default=None)


def next_instant(former: Current | None) -> Instant:
    """Now, or just after the former status where the clock went back: the newer of two statuses counts."""
    now = time.time_ns()
    if former is None or former.status.updated_at.ns < now:
        return instant.at(now)
    try:
        return instant.at(former.status.updated_at.ns + 1)
    except ValueError:
        return instant.at(now)  # the former one is of the last nanosecond of the year 9999


def replace(place: Place, fields: Mapping[str, Any], *, beside: bool) -> None:
    """Replace the status atomically and durably. The caller holds the writer's lock, and `.meta` exists."""
    assert place.meta is not None
    directory, label = (place.directory, layout.STATUS) if beside else (place.meta, layout.META_STATUS)
    replace_whole(directory, layout.STATUS, label, encode(fields))
    files.sync(directory, label)


def encode(fields: Mapping[str, Any]) -> bytes:
    """The bytes of the file: core-agent's fields in its order, empty ones omitted as it does, then all others."""
    known = {key: fields[key] for key in _ORDER if key in fields and (fields[key] or key in _ALWAYS)}
    return to_bytes(known | {key: fields[key] for key in fields if key not in _ORDER}, sort_keys=False)


def to_bytes(document: Mapping[str, Any], *, sort_keys: bool = True) -> bytes:
    """A document as JSON in UTF-8. Invalid text (command lines may not be UTF-8) is escaped, because readers reject
    lone surrogates."""
    try:
        return dump(document, sort_keys=sort_keys).encode("utf-8")
    except UnicodeEncodeError:
        return dump(as_text(document), sort_keys=sort_keys).encode("utf-8")


def replace_whole(directory: int, name: str, label: str, data: bytes) -> None:
    """Replace a file by a synced temporary file. The caller syncs the directory."""
    _remove_temporaries(directory, name)
    temporary = files.random_name(f".{name}.")
    descriptor = files.create(directory, temporary, label, mode=0o666)
    try:
        files.write(descriptor, data, label)
        files.sync(descriptor, label)
        files.replace(directory, temporary, name, label)
    except BaseException:
        files.remove(directory, temporary)
        raise
    finally:
        os.close(descriptor)


def _remove_temporaries(directory: int, name: str) -> None:
    """Remove temporary files of a killed writer; only the holder of the lock creates them."""
    for found in files.names(directory, _NAMES_AT_MOST, name)[0]:
        if found.startswith(f".{name}.") and found.endswith(".tmp"):
            files.remove(directory, found)
