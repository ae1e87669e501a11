"""The workspace's append-only journal: one record a line.

Its owner holds the workspace's lock, which the original does not know: it may append at any moment. Only two things
are ever done to what is there, and only at rest: a torn last line (a power cut) is moved to a file of its own, and a
whole one without its newline is completed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from agentic_watch.config import Limits
from agentic_watch.workspace import files, instant, record, signatures, undo
from agentic_watch.workspace.jsontext import holds_more_values, text_size
from agentic_watch.workspace.layout import JOURNAL, META_JOURNAL
from agentic_watch.workspace.record import Record
from agentic_watch.workspace.redactor import Redactor, redactor
from agentic_watch.workspace.undo import Piece
from agentic_watch.workspace.workspace_errors import (
    Linked,
    Malformed,
    Missing,
    ShortWrite,
    TooLarge,
    WorkspaceError,
)

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
MAX_LINES = 10_000
"""A dispatch adds one line. What holds more was made to cost time: it fails, as one over its size does."""


@dataclass(slots=True)
class Journal:
    """An open journal, or the place for one (`descriptor` None, size 0) in the directory `meta`.

    `size` is what was there when it was opened and what we have appended since; `as_opened` is the signature that it
    had then, b"" once we wrote. `unwritable` says why it can only be read. Others may have written secrets: its records
    are read `without` them.
    """

    meta: int
    descriptor: int | None
    size: int
    longest_line: int
    room: int
    without: Redactor
    as_opened: bytes = b""
    unwritable: WorkspaceError | None = None
    warnings: list[str] = field(default_factory=list)
    appended: Piece | None = None

    def records(self) -> Iterator[Record]:
        """Every whole record, oldest first: `sized_records` without the sizes."""
        return (found for found, _ in self.sized_records())

    def sized_records(self) -> Iterator[tuple[Record, int]]:
        """Every whole record, oldest first, and its line's bytes. Lines that are none are counted in one warning.

        Raises Malformed after MAX_LINES.
        """
        bad, first = 0, ""
        for number, line in enumerate(self._lines(), 1):
            if number > MAX_LINES:
                raise TooLarge(META_JOURNAL, f"holds more than {MAX_LINES:,} lines")
            if line.startswith(b" ") and line.isspace():
                continue  # what was taken back (undo.py)
            try:
                yield self._record(line), len(line)
            except Malformed as error:
                bad, first = bad + 1, first or error.cause
        if bad:
            self.warnings.append(f"{META_JOURNAL}: {bad} lines are no records (the first {first})")

    def _record(self, line: bytes) -> Record:
        if not is_readable(line, self.longest_line):
            raise TooLarge(META_JOURNAL, "takes too much memory")
        found = record.from_line(line)
        # What is escaped may be one, or stand before one: `\n` ends in a letter.
        may_hold_secrets = b"\\" in line or self.without.may_change(line.decode("utf-8"))
        return record.redacted(found, self.without) if may_hold_secrets else found

    def _lines(self) -> Iterator[bytes]:
        if self.descriptor is None:
            return
        rest = b""
        too_long = False
        for piece in files.pieces(self.descriptor, 0, self.size, META_JOURNAL):
            *whole, last = piece.split(b"\n")
            if whole:
                first, rest = rest + whole[0], b""
                if not too_long:
                    yield first
                del first
                yield from whole[1:]
                rest, too_long = last, False
            else:
                rest = b"" if too_long else rest + last
            if len(rest) > self.longest_line:
                self.warnings.append(f"{META_JOURNAL}: a line is longer than {self.longest_line} bytes; passed over")
                rest, too_long = b"", True
        if rest:
            yield rest

    def append(self, line: bytes) -> None:
        """Append one line in one write; what a failed write left is taken back. Not yet synced."""
        if self.unwritable is not None:
            raise self.unwritable
        if self.size + len(line) > self.room:
            raise TooLarge(META_JOURNAL, f"would grow over the limit of {self.room} bytes")
        if self.descriptor is None:
            self.descriptor = files.create(self.meta, JOURNAL, META_JOURNAL, os.O_APPEND)
        else:
            self.repair_tail()
        self._write(line)
        self.appended = Piece.of(line)

    def sync(self) -> None:
        """Make the lines durable. A new journal's name needs a sync of its directory too."""
        assert self.descriptor is not None
        files.sync(self.descriptor, META_JOURNAL)

    def take_back(self) -> None:
        """Take back the line that was appended but could not be synced.

        After a failed fsync(2) the kernel takes the lost pages for clean: a second sync of the same bytes
        would succeed and save nothing. Only writing them anew makes them durable.
        """
        if self.descriptor is not None and self.appended is not None:
            piece, self.appended = self.appended, None
            self.size -= piece.count
            with contextlib.suppress(WorkspaceError):
                undo.take_back(self.meta, JOURNAL, self.descriptor, piece)

    def _write(self, data: bytes) -> None:
        assert self.descriptor is not None
        self.as_opened = b""
        try:
            files.write(self.descriptor, data, META_JOURNAL)
        except ShortWrite as error:
            with contextlib.suppress(WorkspaceError):
                undo.take_back(self.meta, JOURNAL, self.descriptor, Piece.of(data[: error.count]))
            raise
        self.size += len(data)

    def repair_tail(self) -> None:
        """Complete a last line that has no newline, or move it aside when it is no whole record.

        Raises Busy while it may still be in the making.
        """
        assert self.descriptor is not None
        start = self._tail_start()
        if start < self.size:
            if self.unwritable is not None:
                raise self.unwritable
            with undo.at_rest(self.descriptor, self.size, META_JOURNAL):
                self._mend_tail(start)

    def _mend_tail(self, start: int) -> None:
        assert self.descriptor is not None
        if self.size - start <= self.longest_line:
            tail = b"".join(files.pieces(self.descriptor, start, self.size, META_JOURNAL))
            with contextlib.suppress(Malformed):
                self._record(tail)
                self._write(b"\n")
                return
        self._set_tail_aside(start)

    def _tail_start(self) -> int:
        """Where the last line that has no newline begins; the size when there is none."""
        assert self.descriptor is not None
        end = self.size
        while end > 0:
            start = max(0, end - 65_536)
            piece = files.read_at(self.descriptor, end - start, start, META_JOURNAL)
            newline = piece.rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
        return 0

    def _set_tail_aside(self, start: int) -> None:
        assert self.descriptor is not None
        name = files.free_name(self.meta, f"{JOURNAL}.corrupt-{instant.stamp()}")
        aside = files.create(self.meta, name, name)
        try:
            for piece in files.pieces(self.descriptor, start, self.size, META_JOURNAL):
                files.write(aside, piece, name)
            files.sync(aside, name)
        except WorkspaceError:
            files.remove(self.meta, name)
            raise
        finally:
            os.close(aside)
        files.sync(self.meta, name)
        self.as_opened = b""
        files.truncate(self.descriptor, start, META_JOURNAL)
        self.warnings.append(f"{META_JOURNAL}: a torn last line of {self.size - start} bytes was moved to {name}")
        self.size = start

    def signature(self) -> bytes:
        """The signature of what was read and what we appended; b"" when somebody else appended meanwhile, or the file
        system does not tell any more.

        ABSENT when there is no journal.
        """
        if self.descriptor is None:
            return signatures.ABSENT
        if self.as_opened:
            return self.as_opened
        try:
            info = os.fstat(self.descriptor)
        except OSError:  # a file system that shut down (EIO)
            return b""
        return signatures.of(info) if info.st_size == self.size else b""

    def close(self) -> None:
        """Close the descriptor."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def open_journal(meta: int, limits: Limits, *, append: bool = True, absent: bool = False) -> Journal:
    """Open the journal of a `.meta` directory, unless it is known to be `absent`.

    Where it may not be written it is opened to be read. Raises Malformed when it is no plain file or over its limit.
    """
    bounds = longest_line(limits), limits.journal_bytes, redactor(limits.redact)
    if absent:
        return Journal(meta, None, 0, *bounds)
    try:
        descriptor, info, unwritable = _open_lines(meta, append=append)
    except Missing:
        return Journal(meta, None, 0, *bounds)
    if info.st_size > limits.journal_bytes:
        os.close(descriptor)
        raise TooLarge(META_JOURNAL, f"is {info.st_size} bytes, over the limit of {limits.journal_bytes}")
    return Journal(meta, descriptor, info.st_size, *bounds, signatures.of(info), unwritable)


def _open_lines(meta: int, *, append: bool) -> tuple[int, os.stat_result, WorkspaceError | None]:
    """The descriptor, what it is like, and why it cannot be written when that was asked for."""
    refused = None
    try:
        descriptor, info = files.open_lines(meta, JOURNAL, META_JOURNAL, append=append)
    except WorkspaceError as error:
        if not append or not _may_be_readable(error):
            raise
        refused = error
        descriptor, info = files.open_lines(meta, JOURNAL, META_JOURNAL, append=False)
    return descriptor, info, refused


def _may_be_readable(error: WorkspaceError) -> bool:
    cause = error.__cause__
    return isinstance(error, Linked) or (isinstance(cause, OSError) and cause.errno in _READ_ONLY)


def longest_line(limits: Limits) -> int:
    """Bytes of the longest line that is written or read: the report, its findings again, and the status."""
    return 2 * limits.report_bytes + limits.status_bytes + 65_536


def is_readable(line: bytes, longest: int) -> bool:
    """Whether a line is one that is read again: at most `longest` bytes, twice that in memory as text, and not too
    many values."""
    fits = len(line) <= longest and (2 * len(line) <= longest or text_size(line) <= 2 * longest)
    return fits and not holds_more_values(line, record.LINE_VALUES)
