"""Finds workspaces that may be deleted: all their commits are in the history and delivered. In doubt a workspace is
kept; nothing is deleted here.

A workspace directory may contain other workspaces, which scans do not find: a status file placed beside the workspaces
of an organisation makes their directory a workspace, and an agent may have dispatched another below its own. Deleting
it would delete them too, so such a directory is kept.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from agentic_watch.answers import answer_shape
from agentic_watch.config import Config, Root
from agentic_watch.fleet.backlog import Delivered, delivered
from agentic_watch.history import commit_lookup, opening
from agentic_watch.history.columns import commit_id
from agentic_watch.history.commit_lookup import ExistingRow, Lookup
from agentic_watch.history.store import History
from agentic_watch.host.file_systems import unanswered
from agentic_watch.scan import RootUnavailable, ScanError, scan
from agentic_watch.workspace import files, instant, journal, layout, marker, status
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.layout import name_problem
from agentic_watch.workspace.place import Place, open_place
from agentic_watch.workspace.redactor import redactor
from agentic_watch.workspace.status import Status
from agentic_watch.workspace.workspace_errors import Malformed, WorkspaceError

_GROUP, _LINES_AT_ONCE, _ASKED_AT_ONCE = 500, 5_000, 400
_TEXT_AT_MOST = 16 << 20
"""Limit on the texts of one journal (tasks and questions), which are compared with its rows."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which workspaces to select: last update and last commit are more than `older_than` seconds ago (None: any age);
    `undelivered` includes those that a [[push]] target lacks."""

    older_than: float | None = None
    undelivered: bool = False


@dataclass(frozen=True, slots=True)
class Removable:
    """A workspace that can be deleted without loss. `path` is absolute, `commits_count` is the number of its
    commits."""

    root: str
    workspace: str
    path: str
    status: str
    runs: int
    updated_at: str
    updated_utc: str
    committed_at: str
    commits_count: int


@dataclass(frozen=True, slots=True)
class NotRemovable:
    """A workspace to keep, and why; `workspace` is "" for a root that cannot be read."""

    root: str
    workspace: str
    error: str


class _Lacking(Exception):
    """Why a workspace is kept."""


@dataclass(frozen=True, slots=True)
class _Facts:
    """The content of a workspace: `told` are lookups for its commits. The first `of_status` of them are for its status,
    one per possible name; one match is enough."""

    candidate: Candidate
    said: Status
    told: tuple[Lookup, ...]
    of_status: int


def document(one: Removable) -> dict[str, Any]:
    """One row of the JSON of `status --removable`."""
    return answer_shape.absent_as_null({name: getattr(one, name) for name in Removable.__dataclass_fields__})


def judge_all(config: Config, wish: Wish) -> Iterator[Removable | NotRemovable]:
    """Judge every workspace of all roots. Raises HistoryError, HistoryRefused, StateError."""
    judge = _Judge(config, wish)
    silent = unanswered(root.path for root in config.roots)
    for root in config.roots:
        if root.path in silent:
            yield NotRemovable(root.key, "", f"{silent[root.path]} does not answer; check its server, or unmount it")
            continue
        try:
            with contextlib.closing(scan(root)) as found:
                while group := list(islice(found, _GROUP)):
                    yield from judge.group(root, group)
        except RootUnavailable as error:
            yield NotRemovable(
                root.key, "", f"{root.path}: {error.cause}; mount or create it, or configure another one"
            )


@contextlib.contextmanager
def judged_under_lock(config: Config, wish: Wish, one: Removable) -> Iterator[Removable | NotRemovable]:
    """Judge a workspace again under its locks, which exclude commits and dispatches until the body ends.

    Raises HistoryError, HistoryRefused, StateError.
    """
    root = next(root for root in config.roots if root.key == one.root)
    candidate = Candidate(root, one.workspace)
    try:
        place = open_place(root.path, one.workspace)
    except WorkspaceError as error:
        yield NotRemovable(one.root, one.workspace, str(error))
        return
    with contextlib.closing(place):
        yield _Judge(config, wish).locked(candidate, place)


class _Judge:
    """Looks up commits in the history and in the state of deliveries. Raises HistoryError, HistoryRefused,
    StateError."""

    def __init__(self, config: Config, wish: Wish) -> None:
        self._config = config
        self._wish = wish
        self._without = redactor(config.limits.redact)
        self._delivered: list[Delivered] = [] if wish.undelivered else delivered(config.history, config.push)
        with opening.reading(config.history):  # raises if there is no history
            pass

    def group(self, root: Root, group: Sequence[Candidate | ScanError]) -> Iterator[Removable | NotRemovable]:
        """Judge some workspaces of a root."""
        read: list[_Facts] = []
        for found in group:
            try:
                if isinstance(found, ScanError):
                    raise _Lacking(found.cause)
                with contextlib.closing(open_place(root.path, found.name)) as place:
                    if place.meta is not None and place.is_held():
                        raise _Lacking("is held (flock on .meta) by another process")
                    read.append(self._read(found, place))
            except (_Lacking, WorkspaceError, OSError) as error:
                yield NotRemovable(root.key, found.name, _words(error))
            if sum(len(one.told) for one in read) > _LINES_AT_ONCE:
                yield from self._compare(root, read)
                read = []
        yield from self._compare(root, read)

    def locked(self, candidate: Candidate, place: Place) -> Removable | NotRemovable:
        """Lock and judge an open workspace."""
        try:
            # First the dispatcher's lock (dispatch/status_writer.py), then that of commits.
            if not files.try_lock(place.directory, candidate.name):
                raise _Lacking("is being written by another process")
            if place.meta is None or not place.lock():
                raise _Lacking("is held (flock on .meta) by another process")
            facts = self._read(candidate, place)
            if (now := os.lstat(_path(candidate))) and (now.st_dev, now.st_ino) != place.inode:
                raise _Lacking("was replaced meanwhile")
        except (_Lacking, WorkspaceError, OSError) as error:
            return NotRemovable(candidate.root.key, candidate.name, _words(error))
        return next(self._compare(candidate.root, [facts]))

    def _read(self, candidate: Candidate, place: Place) -> _Facts:
        """Read a workspace. Raises _Lacking when its content alone is a reason to keep it, WorkspaceError, OSError."""
        if problem := name_problem(candidate.name):
            raise _Lacking(problem)
        if place.meta is None:
            raise _Lacking("has no .meta")
        found = status.read(place.directory, place.meta, candidate.root, self._config.limits)
        if found.warnings or found.linked is not None:
            raise _Lacking(found.warnings[0] if found.warnings else str(found.linked))
        said = found.status
        if said.status not in self._config.finished:
            raise _Lacking(f"is {said.status}")
        if holds_others(place.directory, candidate):
            raise _Lacking("may contain other workspaces")
        lines = self._lines(place.meta)
        names = {
            candidate.name,
            *(line.workspace for line in lines if _key(line) == (said.updated_at.utc(), said.runs)),
        }
        with contextlib.suppress(Malformed):
            marked = marker.read(place.meta)
            if marked is not None and marked.identity == (said.updated_at.ns, said.runs):
                names.add(marked.workspace)
        of_status = [commit_lookup.lookup_of(name, said) for name in sorted(names)]
        return _Facts(candidate, said, (*of_status, *lines), len(of_status))

    def _lines(self, meta: int) -> list[Lookup]:
        """Lookups for the commits in its journal; raises for an invalid line, which may be the rest of a record."""
        with contextlib.closing(journal.open_journal(meta, self._config.limits, append=False)) as lines:
            found: dict[Lookup, None] = {}
            weight = 0
            for line in lines.records():
                found[commit_lookup.lookup_of(line.workspace, line)] = None
                weight += len(line.task) + len(line.question)
                if weight > _TEXT_AT_MOST:
                    raise _Lacking("has a journal that is too large to be compared")
            if lines.warnings:
                raise _Lacking(lines.warnings[0])
        return list(found)

    def _compare(self, root: Root, read: Sequence[_Facts]) -> Iterator[Removable | NotRemovable]:
        asked = [one for facts in read for one in facts.told]
        rows: dict[int, list[ExistingRow]] = {}
        if asked:
            history = History(self._config.history, read_only=True)
            history.is_same = self._without.is_same
            # HistoryError if a writer appeared meanwhile, because the read may be wrong.
            with opening.reading(self._config.history), contextlib.closing(history):
                for start in range(0, len(asked), _ASKED_AT_ONCE):
                    some = asked[start : start + _ASKED_AT_ONCE]
                    for number, row in commit_lookup.anywhere(history, root, some):
                        rows.setdefault(start + number, []).append(row)
        start = 0
        for facts in read:
            try:
                yield self._judge(facts, [rows.get(start + number, []) for number in range(len(facts.told))])
            except _Lacking as error:
                yield NotRemovable(root.key, facts.candidate.name, str(error))
            start += len(facts.told)

    def _judge(self, facts: _Facts, rows: Sequence[Sequence[ExistingRow]]) -> Removable:
        """Raises _Lacking."""
        whole = [
            next((row for row in its if row.is_dispatch and row.is_same and self._is_delivered(row, asked)), None)
            for asked, its in zip(facts.told, rows, strict=True)
        ]
        of_status = next((row for row in whole[: facts.of_status] if row is not None), None)
        if of_status is None:
            raise _Lacking(_why(f"its {facts.said.status}", [row for its in rows[: facts.of_status] for row in its]))
        for asked, row, its in list(zip(facts.told, whole, rows, strict=True))[facts.of_status :]:
            if row is None:
                raise _Lacking(_why(f"a journal line ({asked.updated_utc}, run {asked.runs})", its))
        self._refuse_young(facts.said, [row.committed_at for row in whole if row is not None])
        return Removable(
            root=facts.candidate.root.key,
            workspace=facts.candidate.name,
            path=_path(facts.candidate),
            status=facts.said.status,
            runs=facts.said.runs,
            updated_at=facts.said.updated_at.text,
            updated_utc=facts.said.updated_at.utc(),
            committed_at=of_status.committed_at,
            commits_count=len({row.id for row in whole if row is not None}),
        )

    def _is_delivered(self, row: ExistingRow, asked: Lookup) -> bool:
        identity = commit_id(row.root, row.workspace, asked.updated_utc, asked.runs)
        return all(target.has(row.id, asked.status, identity) for target in self._delivered)

    def _refuse_young(self, said: Status, committed_at: Sequence[str]) -> None:
        if self._wish.older_than is None:
            return
        newest = max(said.updated_at.ns, *(instant.parse(text).ns for text in committed_at))
        if newest / 1e9 > time.time() - self._wish.older_than:
            raise _Lacking("is younger than --older-than")


def _words(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _why(what: str, rows: Sequence[ExistingRow]) -> str:
    """Why a commit is not completely in the history."""
    if not rows:
        return f"{what} is not in the history"
    if not any(row.is_dispatch and row.is_same for row in rows):
        return f"{what} is in the history with other content"
    return f"{what} is not delivered to every [[push]] target"


def _key(line: Lookup) -> tuple[str, int]:
    return line.updated_utc, line.runs


def _path(candidate: Candidate) -> str:
    return os.path.join(candidate.root.path, candidate.name)


_DIRECTORIES_AT_MOST = 10_000


def holds_others(directory: int, candidate: Candidate) -> bool:
    """Whether the open directory of a workspace contains, or may contain, another one; true also when it has too many
    directories to search. Raises OSError, WorkspaceError."""
    left = iter(range(_DIRECTORIES_AT_MOST))
    return _holds_others(directory, candidate.root, candidate.name, candidate.name.count("/") + 2, left)


def _holds_others(directory: int, root: Root, name: str, depth: int, left: Iterator[int]) -> bool:
    """The same at this depth or deeper; `left` counts the directories that may still be searched."""
    with os.scandir(directory) as entries:
        bases = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    for base in bases:
        path = f"{name}/{base}"
        if not layout.may_enter(root, base, path, depth, beside_workspace_files=True):
            continue
        if next(left, None) is None or layout.status_files(directory, f"{base}/", root, depth) is not None:
            return True
        inner = files.open_directory(directory, base, path)
        try:
            if layout.exists(inner, layout.META) or _holds_others(inner, root, path, depth + 1, left):
                return True
        finally:
            os.close(inner)
    return False
