"""Finished statuses as they were seen, kept until they are committed.

A commit waits until a workspace has come to rest. A finish that is replaced by another status meanwhile, or removed
with its workspace, is committed from what was read of it here. What is kept is bounded, and gone when the process is
killed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agentic_watch.commit.open_workspace import OpenWorkspace, open_to_look
from agentic_watch.commit.outcome import Outcome
from agentic_watch.config import Config
from agentic_watch.workspace import marker, report
from agentic_watch.workspace.layout import Candidate
from agentic_watch.workspace.record import Identity
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Missing, WorkspaceError

_EACH = 8
"""Finishes of one workspace that are kept at a time: who finishes more often within a settle time is not looked at."""
_ALL_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Sighting:
    """A finished status, the bytes of the report beside it (None when there was none that could be kept), which
    directory it stood in (Place.inode), and whether the marker said that it was committed."""

    status: Status
    report: bytes | None
    inode: tuple[int, int]
    marked: bool

    @property
    def identity(self) -> Identity:
        """Which commit it is."""
        return self.status.updated_at.ns, self.status.runs

    @property
    def weight(self) -> int:
        """About how many bytes it takes in memory."""
        return 1000 + 4 * len(str(self.status)) + len(self.report or b"")


class Sightings:
    """By workspace, what was seen and is not committed yet, the oldest first."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], dict[Identity, Sighting]] = {}
        self._where: dict[tuple[int, int], tuple[str, str]] = {}
        self._weight = 0

    def look(self, candidate: Candidate, config: Config) -> None:
        """Read the status and, when it is finished, keep it, in place of an earlier sight of the same commit."""
        workspace = open_to_look(candidate, config)
        if isinstance(workspace, Outcome):
            return
        try:
            if workspace.finished and workspace.linked is None and workspace.status is not None:
                seen = workspace.status, _report(workspace), workspace.place.inode, _is_marked(workspace)
                self._keep(candidate, Sighting(*seen))
        finally:
            workspace.close()

    def of(self, candidate: Candidate) -> list[Sighting]:
        """What was seen of a workspace."""
        return list(self._seen.get((candidate.root.key, candidate.name), {}).values())

    def drop(self, candidate: Candidate, identity: Identity) -> None:
        """Forget one of them: it is recorded."""
        key = candidate.root.key, candidate.name
        seen = self._seen.get(key, {})
        if (one := seen.pop(identity, None)) is not None:
            self._weight -= one.weight
            if not seen:
                del self._seen[key]
                if self._where.get(one.inode) == key:
                    del self._where[one.inode]

    def was_moved(self, candidate: Candidate, one: Sighting) -> bool:
        """Whether the same finish was seen since in the same directory under another name of the root."""
        key = candidate.root.key, candidate.name
        where = self._where.get(one.inode, key)
        return where != key and where[0] == key[0] and one.identity in self._seen.get(where, {})

    def _keep(self, candidate: Candidate, one: Sighting) -> None:
        self.drop(candidate, one.identity)
        if self._weight + one.weight > _ALL_BYTES:
            one = replace(one, report=None)
        seen = self._seen.get((candidate.root.key, candidate.name), {})
        if len(seen) < _EACH and self._weight + one.weight <= _ALL_BYTES:
            self._seen.setdefault((candidate.root.key, candidate.name), seen)[one.identity] = one
            self._weight += one.weight
            self._where[one.inode] = candidate.root.key, candidate.name


def _report(workspace: OpenWorkspace) -> bytes | None:
    if workspace.place.meta is None:
        return None
    try:
        return report.content(workspace.meta, workspace.limits.report_bytes)
    except WorkspaceError:
        return None


def _is_marked(workspace: OpenWorkspace) -> bool:
    if workspace.place.meta is None:
        return False
    try:
        found = marker.read(workspace.meta)
    except WorkspaceError:
        return False
    return found is not None and found.identity == workspace.identity


def identity_now(candidate: Candidate, config: Config) -> Identity | None:
    """Which commit the status is now, None when it cannot be told. Raises Missing when there is none any more."""
    workspace = open_to_look(candidate, config)
    if isinstance(workspace, Outcome):
        if workspace.is_gone:
            raise Missing(candidate.name, workspace.cause)
        return None
    try:
        if isinstance(workspace.trouble, Missing):
            raise workspace.trouble
        return workspace.identity
    finally:
        workspace.close()
