"""Reads the files to keep with a dispatch: the last lines of each, read as safely as the report.

An agent may have planted anything, so the number of names examined, of files opened and of bytes read is limited.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Iterator

from agentic_watch.config import Keep
from agentic_watch.workspace import files, layout
from agentic_watch.workspace.instant import Instant
from agentic_watch.workspace.kept_part import FILES_AT_MOST, KeptFile, kept_file, without_secrets
from agentic_watch.workspace.layout import name_problem
from agentic_watch.workspace.place import Place
from agentic_watch.workspace.workspace_errors import Linked, Malformed, Missing, WorkspaceError

_LEAST = 256
"""Minimum space left to start another file."""
_TRIED_AT_MOST = 64
_NAMES_AT_MOST = 10_000
"""Directory entries examined per dispatch at most."""
_SLACK_NS = 2_000_000_000
"""Some file systems store times in units of two seconds."""
_GLOB = re.compile(r"[*?\[]")


def read(
    place: Place, keep: Keep, since: Instant, redact: Callable[[str], str]
) -> tuple[tuple[KeptFile, ...], list[str]]:
    """The files that `keep` names, and at most one line about files that could not be kept.

    A file written before `since`, the start of the run, belongs to an earlier run and is skipped. Bytes that are not
    UTF-8 are kept unchanged. Problems of files are reported, not raised.
    """
    reader = _Reader(place, since)
    kept: list[KeptFile] = []
    left = keep.total_bytes
    for directory, name, label in reader.candidates(keep.files):
        if len(kept) >= FILES_AT_MOST or left < _LEAST:
            with contextlib.suppress(OSError):  # no permission to read the directory
                if layout.exists(directory, name):
                    reader.problems.append(f"{label}: more than is kept of one dispatch")
            continue
        try:
            found = reader.tail(directory, name, label, min(keep.tail_bytes, left))
        except Missing:
            continue
        except WorkspaceError as error:
            reader.problems.append(str(error))
            continue
        if found is not None:
            size, start, data = found
            left -= len(data)
            kept.append(kept_file(label, size, start, without_secrets(data, redact)))
    return tuple(kept), _told(reader.problems)


def _told(problems: list[str]) -> list[str]:
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return [f"{problems[0][:300]}; not kept{more}"] if problems else []


class _Reader:
    """Finds files in an open workspace, within the limits; `problems` are one line each."""

    def __init__(self, place: Place, since: Instant) -> None:
        self._place = place
        self._oldest_ns = 0 if since.is_zero else since.ns - _SLACK_NS
        self._names_left = _NAMES_AT_MOST
        self.problems: list[str] = []

    def candidates(self, patterns: Iterable[str]) -> Iterator[tuple[int, str, str]]:
        """Yield (directory, name in it, path in the workspace) of files that match the patterns, each once."""
        seen: set[str] = set()
        for pattern in patterns:
            for directory, name, label in self._below(self._place.directory, tuple(pattern.split("/")), ""):
                if label in seen:
                    continue
                seen.add(label)
                if len(seen) > _TRIED_AT_MOST:
                    self.problems.append(f"{label}: one of more than {_TRIED_AT_MOST} files")
                    return
                yield directory, name, label

    def _below(self, directory: int, parts: tuple[str, ...], prefix: str) -> Iterator[tuple[int, str, str]]:
        part, rest = parts[0], parts[1:]
        for name in self._matching(directory, part, prefix):
            if problem := name_problem(name):
                self.problems.append(f"{prefix or '.'}: {problem} of a file there")
            elif not rest:
                yield directory, name, prefix + name
            elif (meta := self._place.meta) is not None and prefix + name == layout.META:
                yield from self._below(meta, rest, f"{layout.META}/")
            else:
                yield from self._entered(directory, rest, prefix + name, is_glob=name != part)

    def _entered(
        self, directory: int, rest: tuple[str, ...], label: str, *, is_glob: bool
    ) -> Iterator[tuple[int, str, str]]:
        try:
            inner = files.open_directory(directory, label.rpartition("/")[2], label)
        except WorkspaceError as error:
            if not isinstance(error, Missing) and not (is_glob and isinstance(error, Malformed)):
                self.problems.append(str(error))
            return
        try:
            yield from self._below(inner, rest, f"{label}/")
        finally:
            os.close(inner)

    def _matching(self, directory: int, part: str, prefix: str) -> list[str]:
        """The names in a directory that match one part of a pattern; a part without a glob is returned itself."""
        if not _GLOB.search(part):
            return [part]
        if directory == self._place.meta and self._place.device >= 0:
            found, are_all = self._place.names, self._place.listed
        else:
            try:
                found, are_all = files.names(directory, self._names_left, prefix or ".")
            except WorkspaceError as error:
                self.problems.append(str(error))
                return []
            self._names_left -= len(found)
        if not are_all:
            self.problems.append(f"{prefix or '.'}: has more entries than are examined; some files may be")
        return sorted(fnmatch.filter(found, part))

    def tail(self, directory: int, name: str, label: str, at_most: int) -> tuple[int, int, bytes] | None:
        """(size of the file, offset of the kept part, that part); None when it belongs to an earlier run.

        Raises WorkspaceError.
        """
        descriptor, info = files.open_lines(directory, name, label, append=False)
        try:
            if info.st_nlink > 1:
                raise Linked(label, info.st_nlink)
            if info.st_mtime_ns < self._oldest_ns:
                return None
            start = max(0, info.st_size - at_most)
            # The preceding byte shows whether a line begins here.
            data = b"".join(files.pieces(descriptor, max(0, start - 1), info.st_size, label))
        finally:
            os.close(descriptor)
        if not start:
            return info.st_size, 0, data
        cut = _first_line(data)
        return info.st_size, start - 1 + cut, data[cut:]


def _first_line(data: bytes) -> int:
    """Offset of the first complete line; in a single very long line, of the first complete word."""
    for end in (b"\n", b" "):
        if cut := data.find(end, 0, len(data) - 1) + 1:
            return cut
    cut = 1
    while cut < min(len(data), 4) and data[cut] & 0xC0 == 0x80:  # inside a UTF-8 character
        cut += 1
    return cut
