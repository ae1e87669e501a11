"""The marker `.meta/commit.json`: the newest complete commit of a workspace. Written last, replaced atomically."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from agentic_watch.workspace import files, instant, layout
from agentic_watch.workspace.instant import Instant
from agentic_watch.workspace.jsontext import dump, load_object
from agentic_watch.workspace.record import Identity
from agentic_watch.workspace.status import fields
from agentic_watch.workspace.workspace_errors import Malformed, Missing

_LIMIT = 65_536
_TEMPORARY = ".commit.json."
OTHER_TEMPORARY = ".journal.jsonl."
"""Prefix of the temporary files of journal_rewrite.py."""


class Marker(NamedTuple):
    """The content of a marker: `updated_at` as in the status, `committed_at` UTC in whole seconds."""

    workspace: str
    updated_at: Instant
    runs: int
    committed_at: str

    @property
    def identity(self) -> Identity:
        """The commit that it marks as complete."""
        return self.updated_at.ns, self.runs

    def encode(self) -> bytes:
        """The bytes of the file, with keys in core-agent's order."""
        document = {
            "workspace": self.workspace,
            "updated_at": self.updated_at.text,
            "runs": self.runs,
            "committed_at": self.committed_at,
        }
        return dump(document, sort_keys=False).encode("utf-8")


def read(meta: int) -> Marker | None:
    """Read the marker; None when there is none. Raises Malformed for invalid content."""
    try:
        # A marker needs confirmation by row or line, and is replaced, never overwritten: so hard links are harmless.
        data = files.read(meta, layout.MARKER, layout.META_MARKER, _LIMIT, one_link=False).data
    except Missing:
        return None
    raw = load_object(data, layout.META_MARKER)
    if raw.get("updated_at") is None:
        raise Malformed(layout.META_MARKER, "has no updated_at")
    return Marker(**fields(raw, layout.META_MARKER, ("workspace", "committed_at"), ("runs",), ("updated_at",)))


def set_aside(meta: int) -> str:
    """Move an unreadable marker of any file type to `commit.json.corrupt-<stamp>`; returns the new name."""
    name = files.free_name(meta, f"{layout.MARKER}.corrupt-{instant.stamp()}")
    files.replace(meta, layout.MARKER, name, layout.META_MARKER)
    return name


def replace(meta: int, marker: Marker) -> None:
    """Replace the marker atomically and durably: temporary file, sync, rename, sync of the directory."""
    put_in_place(meta, write_temporary(meta, marker, sync=True))
    files.sync(meta, layout.META)


def write_temporary(meta: int, marker: Marker, *, sync: bool) -> str:
    """Write the marker under a temporary name, which is returned; without `sync` the caller makes it durable."""
    temporary = files.random_name(_TEMPORARY)
    descriptor = files.create(meta, temporary, layout.META_MARKER)
    try:
        files.write(descriptor, marker.encode(), layout.META_MARKER)
        if sync:
            files.sync(descriptor, layout.META_MARKER)
    except BaseException:
        files.remove(meta, temporary)
        raise
    finally:
        os.close(descriptor)
    return temporary


def put_in_place(meta: int, temporary: str) -> None:
    """Rename a temporary marker over the old one. The caller syncs the directory."""
    try:
        files.replace(meta, temporary, layout.MARKER, layout.META_MARKER)
    except BaseException:
        files.remove(meta, temporary)
        raise


def remove_temporaries(meta: int, names: Iterable[str]) -> None:
    """Remove temporary files of killed processes from `names`; only the holder of the lock creates them."""
    for name in names:
        if name.startswith((_TEMPORARY, OTHER_TEMPORARY)):
            files.remove(meta, name)
