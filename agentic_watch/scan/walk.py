"""Finds the workspaces below a root and whether they changed, by descriptor, without reading a file.

An unchanged workspace costs two stats, of its status file and its marker, and one faccessat(2) for the other status
file. Several processes can share a tree: each workspace belongs to one share.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from agentic_watch.config import Root
from agentic_watch.workspace import files, layout, signatures
from agentic_watch.workspace.candidate import Candidate
from agentic_watch.workspace.layout import may_enter
from agentic_watch.workspace.workspace_errors import Missing, WorkspaceError

_IN_META, _BESIDE, _MARKER = (f"/{name}" for name in (layout.META_STATUS, layout.STATUS, layout.META_MARKER))


def sight(root: Root, parent: int, base: str, name: str) -> Candidate | None:
    """The directory `base` of the open directory `parent` as a candidate if it is a workspace, else None.

    Its signature joins those of `.meta/status.json`, `status.json` and the marker, ABSENT for missing files. Raises
    OSError when the directory cannot be read.
    """
    found = layout.status_files(parent, f"{base}/", root, name.count("/") + 1)
    if found is None:
        return None
    stats = b"".join([signatures.of(info) if info is not None else signatures.ABSENT for info in found])
    marker_path = base + _MARKER
    marker = signatures.ABSENT if signatures.is_absent(parent, marker_path) else signatures.at(parent, marker_path)
    changed_at = max(info.st_ctime for info in found if info is not None)
    return Candidate(root, name, stats + marker, changed_at)


def sight_of_journal(root: Root, directory: int, name: str) -> Candidate | None:
    """The open directory `name`, which has no status, as a candidate if it has a journal, which may be the only record
    of its commits."""
    journal, marker = (signatures.at(directory, path) for path in (layout.META_JOURNAL, layout.META_MARKER))
    return Candidate(root, name, signatures.ABSENT + journal + marker) if journal != signatures.ABSENT else None


def is_marked(candidate: Candidate) -> bool:
    """Whether the candidate had a marker when it was found."""
    return not candidate.signature.endswith(signatures.ABSENT)


def is_unchanged(root: Root, parent: int, base: str, before: bytes) -> bool:
    """Whether the files of the workspace `base` still have this signature; False also when that is not certain."""
    in_meta = not before.startswith(signatures.ABSENT)
    if root.layout not in ("auto", "meta" if in_meta else "root"):
        return False  # its signature includes a file that this layout does not read
    here, there = (_IN_META, _BESIDE) if in_meta else (_BESIDE, _IN_META)
    try:
        status = signatures.of(os.stat(base + here, dir_fd=parent, follow_symlinks=False))
        # For a missing file, faccessat costs less than a stat, which would raise.
        if root.layout == "auto" and not signatures.is_absent(parent, base + there):
            return False
        if not before.endswith(signatures.ABSENT):
            marker = signatures.of(os.stat(base + _MARKER, dir_fd=parent, follow_symlinks=False))
        elif not signatures.is_absent(parent, base + _MARKER):
            return False
        else:
            marker = signatures.ABSENT
    except OSError:
        return False
    return before == (status + signatures.ABSENT + marker if in_meta else signatures.ABSENT + status + marker)


@dataclass(frozen=True, slots=True)
class Share:
    """Part `number` (from 0) of `parts`, by the hash of workspace names, which is the same in all forks of a
    process."""

    number: int = 0
    parts: int = 1

    def has(self, name: str) -> bool:
        """Whether a workspace belongs to it."""
        return self.parts == 1 or hash(name) % self.parts == self.number


WHOLE = Share()


@dataclass(frozen=True, slots=True)
class ScanError:
    """A directory that could not be read; `name` is its path below the root."""

    root: Root
    name: str
    cause: str


Step = Candidate | ScanError | int
"""A result of the scan, or the number of unchanged workspaces since the last one, so that a caller can pause in any
tree."""

LeftAlone = Callable[[str], bool]
"""Called with a path below the root; True to skip it, because its mount does not answer."""

_PAUSE_AT = 64


class RootUnavailable(Exception):
    """The root cannot be opened: it does not exist (yet), is not mounted, or permission is denied."""

    def __init__(self, root: Root, cause: str) -> None:
        super().__init__(f"{root.path}: {cause}")
        self.root = root
        self.cause = cause


def scan(root: Root) -> Generator[Candidate | ScanError, None, None]:
    """Every workspace below a root, in directory order. Raises RootUnavailable.

    Close the generator if you do not exhaust it: it holds directories open.
    """
    return (found for found in scan_in_steps(root, {}) if isinstance(found, (Candidate, ScanError)))


def scan_in_steps(
    root: Root,
    known: dict[str, bytes],
    share: Share = WHOLE,
    left_alone: LeftAlone | None = None,
    unchanged: list[str] | None = None,
) -> Generator[Step, None, None]:
    """Every changed workspace of a share of a root, and the number of unchanged ones.

    A workspace is unchanged if `known` has its signature. Each found name is removed from `known`; the names of the
    share that remain at the end were not found. Directories that `left_alone` excludes become ScanErrors. `unchanged`
    collects the names of unchanged workspaces. Raises RootUnavailable.
    """
    try:
        top = files.open_root(root.path)
    except OSError as error:
        raise RootUnavailable(root, error.strerror or "cannot be opened") from error
    try:
        yield from _Walk(root, known, share, left_alone, unchanged).inside(top, "", beside_workspace_files=False)
    finally:
        os.close(top)


def scan_below(root: Root, top: int, name: str, left_alone: LeftAlone) -> Iterator[Candidate | ScanError]:
    """Every workspace at or below the directory `name` of the open root `top`; for a `.meta`, its workspace.

    Yields nothing inside a workspace or a directory that is never searched. Raises WorkspaceError, OSError.
    """
    parts = name.split("/")
    directory = os.dup(top)
    beside = False
    try:
        for depth, base in enumerate(parts, 1):
            path = "/".join(parts[:depth])
            found = sight(root, directory, base, path)
            if found is not None:
                if parts[depth:] in ([], [layout.META]):
                    yield found
                return
            if depth >= root.max_depth or not may_enter(root, base, path, depth, beside):
                return
            inner = files.open_directory(directory, base, path)
            os.close(directory)
            directory = inner
            beside = layout.exists(directory, layout.META) or layout.exists(directory, layout.STATUS)
        below = _Walk(root, {}, WHOLE, left_alone).inside(directory, name, beside_workspace_files=beside)
        yield from (one for one in below if isinstance(one, (Candidate, ScanError)))
    finally:
        os.close(directory)


class _Walk:
    """One scan of a root."""

    def __init__(
        self,
        root: Root,
        known: dict[str, bytes],
        share: Share,
        left_alone: LeftAlone | None,
        unchanged: list[str] | None = None,
    ) -> None:
        self._root = root
        self._known = known
        self._share = share
        self._left_alone = left_alone
        self._unchanged = unchanged

    def inside(self, directory: int, name: str, *, beside_workspace_files: bool) -> Iterator[Step]:
        """Every workspace below the open directory `name` ("" is the root), which is not a workspace itself."""
        prefix = f"{name}/" if name else ""
        depth = prefix.count("/") + 1
        known, root, share, names = self._known, self._root, self._share, self._unchanged
        unchanged = 0
        try:
            with os.scandir(directory) as entries:
                for entry in entries:
                    if not entry.is_dir(follow_symlinks=False):
                        continue
                    base = entry.name
                    inner = prefix + base
                    if not may_enter(root, base, inner, depth, beside_workspace_files):
                        continue
                    before = known.get(inner)
                    if self._left_alone is not None and self._left_alone(inner):
                        yield ScanError(root, inner, "does not answer")
                        continue
                    if before is not None and not share.has(inner):
                        continue  # another share examines it, and its subdirectories if it is no workspace any more
                    if before and is_unchanged(root, directory, base, before):
                        del known[inner]
                        if names is not None:
                            names.append(inner)
                        unchanged += 1
                        if unchanged == _PAUSE_AT:
                            yield unchanged
                            unchanged = 0
                    else:
                        yield from self._look(directory, base, inner, depth)
        except OSError as error:
            yield ScanError(root, name, f"cannot be listed: {error.strerror}")
        yield unchanged

    def _step(self, found: Candidate, known: bytes | None) -> Step:
        """The step for an examined workspace: a count if it is unchanged, else the candidate."""
        if found.signature != known:
            return found
        if self._unchanged is not None:
            self._unchanged.append(found.name)
        return 1

    def _look(self, parent: int, base: str, name: str, depth: int) -> Iterator[Step]:
        """Examine the directory `base` of the open directory `parent`: the workspace itself, or those below it."""
        root = self._root
        try:
            found = sight(root, parent, base, name)
            known = self._known.pop(name, None)
            if found is not None and self._share.has(name):
                yield self._step(found, known)
            if found is not None or depth >= root.max_depth:
                return
            directory = files.open_directory(parent, base, name)
        except Missing:
            return
        except WorkspaceError as error:
            yield ScanError(root, name, error.cause)
            return
        except OSError as error:
            yield ScanError(root, name, f"cannot be read: {error.strerror}")
            return
        try:
            has_meta = layout.exists(directory, layout.META)
            if has_meta and self._share.has(name) and (left := sight_of_journal(root, directory, name)) is not None:
                yield self._step(left, known)
            beside = has_meta or layout.exists(directory, layout.STATUS)
            below = self if known is None else _Walk(root, self._known, WHOLE, self._left_alone, self._unchanged)
            yield from below.inside(directory, name, beside_workspace_files=beside)
        finally:
            os.close(directory)
