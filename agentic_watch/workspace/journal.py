"""The workspace's append-only journal: one record per line.

The caller holds the workspace's lock; core-agent does not use this lock and may append at any moment. Existing content
is changed in two cases only, and only while the file does not change: a torn last line (after a power cut) is moved to
a separate file, and a complete last line without a newline gets one.
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
"""A dispatch adds one line, so more lines are an attack on our time: the commit fails, as it does over the size
limit."""


@dataclass(slots=True)
class Journal:
    """An open journal, or in the directory `meta` a missing one (`descriptor` None, size 0).

    `size` is the size when it was opened plus the bytes appended since; `as_opened` is its signature at that time, b""
    after a write. `unwritable` is the error of a journal that can only be read. Others may have written secrets, so
    records are redacted by `without` when they are read.
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
        """Every complete record, oldest first."""
        return (found for found, _ in self.sized_records())

    def sized_records(self) -> Iterator[tuple[Record, int]]:
        """Every complete record, oldest first, with the size of its line. Invalid lines make one warning with their
        number.

        Raises Malformed after MAX_LINES.
        """
        bad, first = 0, ""
        for number, line in enumerate(self._lines(), 1):
            if number > MAX_LINES:
                raise TooLarge(META_JOURNAL, f"holds more than {MAX_LINES:,} lines")
            if line.startswith(b" ") and line.isspace():
                continue  # an undone line (undo.py)
            try:
                yield self._record(line), len(line)
            except Malformed as error:
                bad, first = bad + 1, first or error.cause
        if bad:
            self.warnings.append(f"{META_JOURNAL}: {bad} invalid line{'s' * (bad != 1)} (the first {first})")

    def _record(self, line: bytes) -> Record:
        if not is_readable(line, self.longest_line):
            raise TooLarge(META_JOURNAL, "takes too much memory")
        found = record.from_line(line)
        # An escaped text may contain a secret, or precede one: `\n` ends in a letter.
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
                self.warnings.append(f"{META_JOURNAL}: a line is longer than {self.longest_line} bytes; skipped")
                rest, too_long = b"", True
        if rest:
            yield rest

    def append(self, line: bytes) -> None:
        """Append one line in one write, without a sync. A failed write is undone."""
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
        """Make the lines durable. For a new journal the caller also syncs its directory."""
        assert self.descriptor is not None
        files.sync(self.descriptor, META_JOURNAL)

    def take_back(self) -> None:
        """Remove the appended line after its sync failed.

        After a failed fsync(2) the kernel marks the lost pages as clean: a second sync of the same bytes would succeed
        and save nothing. Only a new write makes them durable.
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
        """Add the newline that a complete last record lacks, or move a torn last line aside.

        Raises Busy while another process may still be writing it.
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
        """Offset of a last line without a newline; the size when there is none."""
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
        """The signature of the journal as read and appended here; b"" when another process appended meanwhile, or after
        an I/O error.

        ABSENT when there is no journal.
        """
        if self.descriptor is None:
            return signatures.ABSENT
        if self.as_opened:
            return self.as_opened
        try:
            info = os.fstat(self.descriptor)
        except OSError:  # the file system was shut down (EIO)
            return b""
        return signatures.of(info) if info.st_size == self.size else b""

    def close(self) -> None:
        """Close the descriptor."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def open_journal(meta: int, limits: Limits, *, append: bool = True, absent: bool = False) -> Journal:
    """Open the journal of a `.meta` directory, unless it is known to be `absent`.

    Without write permission it is opened for reading. Raises Malformed when it is not a regular file or is over its
    limit.
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
    """The descriptor, its stat, and with `append` the error why it cannot be written."""
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
    """Maximum size of a line: the report, its findings again, and the status."""
    return 2 * limits.report_bytes + limits.status_bytes + 65_536


def is_readable(line: bytes, longest: int) -> bool:
    """Whether a line can be read back: at most `longest` bytes, twice that as text in memory, and not too many
    values."""
    fits = len(line) <= longest and (2 * len(line) <= longest or text_size(line) <= 2 * longest)
    return fits and not holds_more_values(line, record.LINE_VALUES)
