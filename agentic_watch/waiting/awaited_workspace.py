"""One workspace of `wait`: its place and status, and the history row that ends the wait."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterable, Iterator, Sequence

from agentic_watch.config import Config, Root
from agentic_watch.history import commit_lookup, opening, pruned
from agentic_watch.history.commit_lookup import NamedRow
from agentic_watch.host.file_systems import filesystem_without_events
from agentic_watch.scan import RootUnavailable, ScanError, scan
from agentic_watch.waiting.wait_result import Wanted
from agentic_watch.watch.directory_watch import Add
from agentic_watch.workspace import files, ghost_record, instant, layout, marker, status
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.instant import Instant
from agentic_watch.workspace.place import Place, open_place
from agentic_watch.workspace.record import dispatch_of
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Missing, WorkspaceError, from_os_error

_HELD_SECONDS = 2.0

Rows = dict[tuple[str, str], list[NamedRow]]
"""The rows of the history by root's key and name; those of workspaces from other roots by "" and absolute path."""


class AwaitedWorkspace:
    """The last known state. `at` is its place if it existed; `said` its status, None when unknown because of `cause`;
    `gone_at` is when it disappeared (monotonic seconds), `finished_at` when it was first seen finished, else None.
    `is_polled`: it has no watch; `inode` identifies its directory."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.at: Candidate | None = None
        self.said: Status | None = None
        self.cause = "is not there yet"
        self.gone_at: float | None = None
        self.finished_at: float | None = None
        self.is_polled = False
        self.is_moved = False
        self.changed_at = 0.0
        self.held_since: float | None = None
        self.inode: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.wanted[0].name if self.at is None or self.is_moved else self.at.name

    @property
    def places(self) -> tuple[Candidate, ...]:
        """The places where it may be, and the names under which it may be recorded."""
        if self.at is None:
            return self.wanted
        return (self.at, *self.wanted) if self.is_moved else (self.at,)

    def look(self, config: Config, add: Add) -> None:
        """Read it again; `add` places the watches for its next change first."""
        self.is_polled = False
        for place in self.places:
            try:
                opened = self._open(place.root, place.name, add)
            except Missing:
                continue
            except WorkspaceError as error:
                self.cause = str(error)
                if self.at is not None:
                    return
                continue
            with contextlib.closing(opened):
                self._read(place, opened, config)
                return
        if self.at is not None and self.gone_at is None:
            self.gone_at, self.finished_at = time.monotonic(), None

    def _open(self, root: Root, name: str, add: Add) -> Place:
        """Open it like a commit, and watch each directory of its path."""
        try:
            directory = files.open_root(root.path)
        except OSError as error:
            self.is_polled = True
            raise from_os_error(root.path, error) from error
        meta: int | None = None
        silent = False
        try:
            silent = root.watch == "poll" or filesystem_without_events(directory) is not None
            for component in name.split("/"):
                silent |= not add(directory, [component])
                inner = files.open_directory(directory, component, component)
                os.close(directory)
                directory = inner
            silent |= not add(directory, [layout.META, layout.STATUS])
            with contextlib.suppress(Missing):
                meta = files.open_directory(directory, layout.META, layout.META)
                silent |= not add(meta, [layout.STATUS])
        except BaseException:
            os.close(directory)
            raise
        finally:
            self.is_polled |= silent
        return Place(directory, meta)

    def _read(self, place: Candidate, opened: Place, config: Config) -> None:
        try:
            found = status.read(opened.directory, opened.meta, place.root, config.limits)
        except Missing:
            # A directory without a status is no workspace yet.
            self.cause = "has no status yet"
            if self.said is not None and self.gone_at is None:
                self.gone_at = time.monotonic()
            return
        except WorkspaceError as error:
            self.at, self.gone_at, self.cause = place, None, str(error)
            return
        self.at, self.gone_at, self.cause, self.said = place, None, "", found.status
        with contextlib.suppress(WorkspaceError):
            self.inode = opened.inode
        self.changed_at = _changed_at(opened, place)
        if found.status.status not in config.finished:
            self.finished_at = None
        elif self.finished_at is None:
            self.finished_at = time.monotonic()

    # --- its end

    def row(self, rows: Rows, finished: Collection[str]) -> NamedRow | None:
        """The row that ends the wait, None when there is none yet."""
        its = list(self._its(rows))
        said = self.said
        if self.gone_at is not None or self.at is None:
            oldest = -1 << 80 if said is None else said.updated_at.ns - 1
            newest = max(its, key=lambda row: (row.updated_utc, row.id), default=None)
            if newest is None or newest.status not in finished or instant.parse(newest.updated_utc).ns < oldest:
                return None
            return newest
        if said is None:
            return None
        if said.status in finished:
            return next((row for row in its if _is_of(row, said.updated_at, said.runs)), None)
        earlier = ghost_record.before(said.updated_at)
        started = said.started_at.utc_if_set()
        ends = (row for row in its if _is_of(row, earlier, said.runs) and row.started_utc == started)
        return next((row for row in ends if row.status in finished), None)

    def _its(self, rows: Rows) -> Iterator[NamedRow]:
        """Its rows under all names, its own name first."""
        for place in self.places:
            yield from rows.get(place.key, ())
        for place in self.places:
            yield from rows.get(("", os.path.join(place.root.path, place.name)), ())

    def is_pruned(self, pruned_before: str) -> bool:
        """Whether no row can be expected: it is older than the last prune, and has a marker."""
        if self.at is None or self.said is None or self.gone_at is not None:
            return False
        if not self.said.updated_at.utc() < pruned_before:
            return False
        try:
            with contextlib.closing(open_place(self.at.root.path, self.at.name)) as opened:
                found = marker.read(opened.meta) if opened.meta is not None else None
        except WorkspaceError:
            return False
        return found is not None and found.identity == (self.said.updated_at.ns, self.said.runs)

    def is_being_committed(self) -> bool:
        """Whether another process holds it, so that its marker may be missing for a moment."""
        is_held = False
        if self.at is not None and self.gone_at is None:
            with (
                contextlib.suppress(WorkspaceError),
                contextlib.closing(open_place(self.at.root.path, self.at.name)) as opened,
            ):
                is_held = opened.meta is not None and opened.is_held()
        if not is_held:
            self.held_since = None
            return False
        now = time.monotonic()
        self.held_since = self.held_since or now
        return now - self.held_since < _HELD_SECONDS

    # --- its moves

    def follow(self, found: Candidate, config: Config) -> bool:
        """Whether a workspace found by a scan is this one after a move; if so, continue there.

        It is the same if the directory's inode and the dispatch in its status are the same.
        """
        if self.inode is None or self.said is None:
            return False
        try:
            with contextlib.closing(open_place(found.root.path, found.name)) as opened:
                if opened.inode != self.inode:
                    return False
                said = status.read(opened.directory, opened.meta, found.root, config.limits).status
        except WorkspaceError:
            return False
        if dispatch_of(said) != dispatch_of(self.said):
            return False
        self.at, self.is_moved = Candidate(found.root, found.name), True
        return True


def follow_moved(gone: Iterable[AwaitedWorkspace], config: Config) -> list[AwaitedWorkspace]:
    """Search all roots for workspaces that disappeared; returns those found under another name."""
    left = {one.inode: one for one in gone if one.inode is not None}
    found = []
    for root in config.roots if left else ():
        with contextlib.suppress(RootUnavailable), contextlib.closing(scan(root)) as everything:
            for candidate in everything:
                inode = _inode_of(candidate)
                one = left.get(inode) if inode is not None else None
                if one is not None and isinstance(candidate, Candidate) and one.follow(candidate, config):
                    found.append(one)
    return found


def _inode_of(found: Candidate | ScanError) -> tuple[int, int] | None:
    """Device and inode of a directory found by a scan: only a hint."""
    with contextlib.suppress(OSError):
        info = os.stat(os.path.join(found.root.path, found.name), follow_symlinks=False)
        return info.st_dev, info.st_ino
    return None


def _is_of(row: NamedRow, updated_at: Instant, runs: int) -> bool:
    return row.runs == runs and row.updated_utc == updated_at.utc()


def _changed_at(opened: Place, place: Candidate) -> float:
    """The newest ctime of its status files, in seconds since the epoch."""
    with contextlib.suppress(OSError):
        found = layout.status_files(opened.directory, "", place.root, place.name.count("/") + 1)
        return max((info.st_ctime for info in found or () if info is not None), default=0.0)
    return 0.0


def rows_of(config: Config, asked: Iterable[AwaitedWorkspace]) -> tuple[Rows, str]:
    """The rows of these workspaces under all possible names, and the time of the last prune ("": never).

    Raises HistoryError, HistoryRefused.
    """
    rows: Rows = {}
    with opening.reading(config.history) as connection:
        for root, names in _names(config.roots, asked).items():
            found = commit_lookup.of_workspaces(connection, root, sorted(names))
            for name, its in found.items():
                rows.setdefault(("" if os.path.isabs(name) else root, name), []).extend(its)
        return rows, pruned.before(connection)


def _names(roots: Sequence[Root], asked: Iterable[AwaitedWorkspace]) -> dict[str, set[str]]:
    """By root's key, the names to look up: each place's name in its root, and its path in all roots, because rows store
    the path of a workspace that moved to another root."""
    names: dict[str, set[str]] = {root.key: set() for root in roots}
    for one in asked:
        for place in one.places:
            names.setdefault(place.root.key, set()).add(place.name)
            for of_root in names.values():
                of_root.add(os.path.join(place.root.path, place.name))
    return names
