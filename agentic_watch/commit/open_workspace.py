"""Opens and locks one workspace, and reads its status; its journal is opened when it is needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from agentic_watch.commit.outcome import Outcome, Verdict, failed
from agentic_watch.commit.sightings import Sighting, Sightings
from agentic_watch.config import KNOWN_STATUSES, Config
from agentic_watch.workspace import (
    ghost_record,
    journal,
    kept_files,
    layout,
    marker,
    record,
    report,
    signatures,
    status,
)
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.journal import Journal
from agentic_watch.workspace.kept_part import KeptFile
from agentic_watch.workspace.layout import name_problem
from agentic_watch.workspace.place import Opener, Place, open_place
from agentic_watch.workspace.record import Identity, Record
from agentic_watch.workspace.redactor import redactor
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import ErrorKind, Missing, WorkspaceError

_SHORT_JOURNAL_BYTES = 262_144
"""Size up to which a journal is read beside the workspace's own commit; a dispatch adds a few hundred bytes."""


def all_answer(_: Candidate) -> bool:
    """What is left alone by a process that does not know which file systems hang: none."""
    return False


@dataclass(slots=True)
class OpenWorkspace:
    """A workspace whose status has been read. `finished`: the status is to be committed, and `.meta` is locked.

    `status` is None when it cannot be read, as `trouble` says; its journal may still have rows to recover. `sighting`
    is a finish (with its report) that was read before and has since been replaced, `replaced_by` the finish on disk;
    both are None when the status on disk counts. `ended`: the status is that of a ghost. `inode` is the directory's
    when its status was read. `linked` (the error of a status with hard links) says that the status may be compared with
    what is recorded, but not be recorded. `journal` is None until it is read or written; `warnings` are one line each.
    `is_left_alone` says of another place whether its file system hangs, so that it must not be touched.
    """

    candidate: Candidate
    place: Place
    config: Config
    status: Status | None
    status_signature: bytes
    finished: bool = False
    warnings: list[str] = field(default_factory=list)
    linked: WorkspaceError | None = None
    trouble: WorkspaceError | None = None
    sighting: Sighting | None = None
    replaced_by: Identity | None = None
    ended: bool = False
    inode: tuple[int, int] | None = None
    journal: Journal | None = None
    is_left_alone: Callable[[Candidate], bool] = all_answer
    _kept: tuple[KeptFile, ...] | None = None

    @property
    def identity(self) -> Identity | None:
        """The identity of the status's commit; None without a status."""
        return (self.status.updated_at.ns, self.status.runs) if self.status is not None else None

    @property
    def directory(self) -> str:
        """Device and inode as text, "" when unknown."""
        return "{}:{}".format(*self.inode) if self.inode is not None else ""

    @property
    def meta(self) -> int:
        """The descriptor of `.meta`."""
        assert self.place.meta is not None
        return self.place.meta

    @property
    def report_bytes(self) -> int:
        """Size of the report, at most the configured limit."""
        if self.place.lacks(layout.REPORT):
            return 0
        try:
            size = os.stat(layout.REPORT, dir_fd=self.meta, follow_symlinks=False).st_size
        except OSError:
            return 0
        return min(size, self.config.limits.report_bytes)

    def kept_files(self) -> tuple[KeptFile, ...]:
        """The files to keep in its row; unreadable ones become warnings.

        Empty for a finish that was replaced: the current files may belong to another run.
        """
        if self._kept is None:
            self._kept = ()
            keep, status = self.config.kept_files, self.status
            wanted = status is not None and (status.status in keep.statuses or "*" in keep.statuses)
            if status is not None and wanted and keep.files and self.sighting is None:
                without = redactor(self.config.limits.redact).text
                self._kept, warnings = kept_files.read(self.place, keep, status.started_at, without)
                self.warnings += warnings
        return self._kept

    def signature(self) -> bytes:
        """Signature of the status as it was read and of the current marker; b"" while the status is too new to be
        trusted."""
        if not self.status_signature:
            return b""
        meta = self.place.meta
        return self.status_signature + (signatures.at(meta, layout.MARKER) if meta is not None else signatures.ABSENT)

    def status_files(self, *, as_read: bool = False) -> bytes:
        """Signature of its status files now, or with `as_read` as they were read."""
        if as_read and isinstance(self.trouble, Missing):
            return signatures.ABSENT * 2
        if as_read and self.status_signature:
            return self.status_signature
        return status.signature(self.place.directory, self.place.meta, self.candidate.root)

    def open_journal(self, *, append: bool) -> Journal:
        """Open the journal if it is not open yet; a missing one is created by the first line.

        Raises Malformed when it is not a regular file or is over its limit.
        """
        if self.journal is None:
            absent = self.place.lacks(layout.JOURNAL)
            self.journal = journal.open_journal(self.meta, self.config.limits, append=append, absent=absent)
        return self.journal

    def short_journal(self) -> Sequence[Record] | None:
        """The lines of a short journal, for whoever looks beside the workspace's own commit; empty when there is none,
        None when it is long or cannot be read."""
        if self.place.meta is None:
            return ()
        try:
            lines = self.open_journal(append=False)
            return list(lines.records()) if lines.size <= _SHORT_JOURNAL_BYTES else None
        except WorkspaceError:
            return None

    def release(self) -> None:
        """Close descriptors that are not needed once the line is durable; `.meta` stays open and locked."""
        if self.journal is not None:
            self.journal.close()
        self.place.release()

    def close(self) -> None:
        """Close everything, which releases the lock."""
        if self.journal is not None:
            self.journal.close()
        self.place.close()


def open_and_lock(
    candidate: Candidate, opener: Opener, config: Config, sightings: Sightings, *, force: bool
) -> OpenWorkspace | Outcome:
    """Open a workspace, lock it and read its status. An Outcome is returned when there is nothing to write.

    A finish that was seen before and has been replaced comes first. With `force` an unfinished status counts as
    finished.
    """
    try:
        place = opener.open(candidate.root.path, candidate.name)
    except WorkspaceError as error:
        return failed(candidate, error)
    opened: OpenWorkspace | Outcome | None = None
    try:
        opened = _lock_and_read(candidate, place, config, sightings, force)
    except WorkspaceError as error:
        opened = failed(candidate, error)
    finally:
        if not isinstance(opened, OpenWorkspace):
            place.close()
    return opened


def open_to_look(candidate: Candidate, config: Config) -> OpenWorkspace | Outcome:
    """Open a workspace without its lock and read its status, for reading only."""
    if problem := name_problem(candidate.name):
        return Outcome(candidate, Verdict.FAILED, problem, kind=ErrorKind.PLANTED)
    try:
        place = open_place(candidate.root.path, candidate.name)
    except WorkspaceError as error:
        return failed(candidate, error)
    try:
        workspace = _read(candidate, place, config, force=False)
        return _at_end(workspace, candidate, place, config) or workspace
    except WorkspaceError as error:
        place.close()
        return failed(candidate, error)


def _lock_and_read(
    candidate: Candidate, place: Place, config: Config, sightings: Sightings, force: bool
) -> OpenWorkspace | Outcome:
    if problem := name_problem(candidate.name):
        return Outcome(candidate, Verdict.FAILED, problem, kind=ErrorKind.PLANTED)
    if place.meta is None:
        # `.meta` is created for finished work only, so here the status is read before the lock is taken.
        found = _read_or_recall(candidate, place, config, sightings, force)
        if not found.finished:
            outcome = Outcome(candidate, Verdict.UNFINISHED, status=found.status, signature=found.signature())
            return outcome._replace(warnings=tuple(found.warnings), directory=found.directory)
        place.make_meta()
    if not place.lock():
        return Outcome(candidate, Verdict.BUSY, "is held (flock on .meta) by another process")
    assert place.meta is not None
    marker.remove_temporaries(place.meta, place.names)  # of a killed process: only the lock's holder makes them
    return _read_or_recall(candidate, place, config, sightings, force)


def _read_or_recall(
    candidate: Candidate, place: Place, config: Config, sightings: Sightings, force: bool
) -> OpenWorkspace:
    """Choose the finish to commit now: the oldest one that was seen and has been replaced, else the current status."""
    workspace: OpenWorkspace | None = None
    try:
        workspace = _read(candidate, place, config, force)
    except WorkspaceError as error:
        is_known = bool(sightings.of(candidate)) or (candidate.end is not None and isinstance(error, Missing))
        if not is_known or (place.meta is None and isinstance(error, Missing)):
            raise
    now = None
    if workspace is not None and workspace.finished and workspace.status is not None and workspace.inode is not None:
        sightings.discard_moved(candidate, workspace.inode, workspace.status)
        now = workspace.identity
    finish = sightings.next_finish(candidate, now)
    if finish is not None:
        return OpenWorkspace(candidate, place, config, finish.status, b"", True, sighting=finish, replaced_by=now)
    if (ended := _at_end(workspace, candidate, place, config)) is not None:
        return ended
    if workspace is None:
        raise Missing(layout.STATUS, "is not there")
    return workspace


def _at_end(
    workspace: OpenWorkspace | None, candidate: Candidate, place: Place, config: Config
) -> OpenWorkspace | None:
    """The workspace with its run recorded as a ghost; None when the run is no ghost or its status changed."""
    end, said = candidate.end, workspace.status if workspace is not None else None
    if end is None:
        return None
    if workspace is None or isinstance(workspace.trouble, Missing):
        said = end.said if end.is_removed else None
    elif said is None or end.is_removed or workspace.finished or workspace.linked is not None or not end.is_of(said):
        said = None
    if said is None:
        return None
    failed_now = ghost_record.failed(said, is_removed=end.is_removed)
    return OpenWorkspace(candidate, place, config, failed_now, b"", finished=True, ended=True)


def _read(candidate: Candidate, place: Place, config: Config, force: bool) -> OpenWorkspace:
    """Read the status; an unreadable one is allowed when there is a journal."""
    try:
        return _read_status(candidate, place, config, force)
    except WorkspaceError as error:
        if place.meta is None or place.lacks(layout.JOURNAL) or signatures.is_absent(place.meta, layout.JOURNAL):
            raise
        seen = layout.journal_signature(place.meta) if isinstance(error, Missing) else b""
        return OpenWorkspace(candidate, place, config, None, seen, trouble=error)


def _read_status(candidate: Candidate, place: Place, config: Config, force: bool) -> OpenWorkspace:
    found = status.read(place.directory, place.meta, candidate.root, config.limits)
    finished = force or found.status.status in config.finished
    said = found.status
    if found.linked is not None and not finished:
        if said.status not in KNOWN_STATUSES:
            raise found.linked
        said = Status(said.status, said.updated_at, pid=said.pid, runs=said.runs)  # its texts may hold secrets
    warnings = list(found.warnings)
    inode = place.inode
    return OpenWorkspace(candidate, place, config, said, found.signature, finished, warnings, found.linked, inode=inode)


def sighting_of(workspace: OpenWorkspace) -> Sighting | None:
    """The sighting to keep of an opened workspace; None when it has no finish that may be recorded."""
    if not workspace.finished or workspace.linked is not None or workspace.status is None or workspace.inode is None:
        return None
    content = None
    if workspace.place.meta is not None:
        with suppress(WorkspaceError):
            content = report.content(workspace.meta, workspace.config.limits.report_bytes)
    return Sighting(workspace.status, content, workspace.inode, frozenset(recorded_names(workspace)))


def recorded_names(workspace: OpenWorkspace) -> set[str]:
    """The names under which marker or journal record the status."""
    status, names = workspace.status, set[str]()
    if workspace.place.meta is None or status is None:
        return names
    marked = None
    with suppress(WorkspaceError):
        marked = marker.read(workspace.meta)
    if marked is not None and marked.identity == workspace.identity:
        names = {marked.workspace}
        if marked.workspace == workspace.candidate.name:
            return names
    without = redactor(workspace.config.limits.redact)
    for line in workspace.short_journal() or ():
        if line.identity != workspace.identity:
            continue
        if record.is_same_dispatch(line, status, without):
            names.add(line.workspace)
        elif marked is not None and (line.workspace, line.committed_at) == (marked.workspace, marked.committed_at):
            names.discard(marked.workspace)  # copied with the directory of another dispatch of this identity
    return names
