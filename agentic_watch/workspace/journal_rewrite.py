"""Removes secrets from a journal for `redact`: writes a new file that atomically replaces the old one.

Nothing else changes lines that others wrote (journal.py). Lines without a secret stay byte for byte the same, and so
does a torn last line.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from agentic_watch.config import KNOWN_STATUSES, Limits
from agentic_watch.host.retry import every, wait_until
from agentic_watch.workspace import files, marker, undo
from agentic_watch.workspace.jsontext import MAX_DEPTH, dump, load_object
from agentic_watch.workspace.layout import JOURNAL, META, META_JOURNAL
from agentic_watch.workspace.owner import own_like
from agentic_watch.workspace.record import LINE_VALUES
from agentic_watch.workspace.redactor import Redactor
from agentic_watch.workspace.workspace_errors import Busy, Malformed, Missing, TooLarge

_IDENTITY = ("workspace", "updated_at", "started_at", "committed_at", "runs")
_WAIT_SECONDS = 2.0
"""How long late appends to the old file are waited for after it was replaced."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The number of lines that had secrets, and whether a torn last line still has some."""

    lines: int = 0
    torn: bool = False


def rewrite(meta: int, limits: Limits, without: Redactor, *, dry_run: bool) -> Rewritten:
    """Redact the journal of a `.meta` directory, whose lock the caller holds.

    Raises Busy while another process has it open, Malformed when it is not a regular file, has hard links or is over
    its limit, WorkspaceError without write permission.
    """
    try:
        descriptor, info = files.open_lines(meta, JOURNAL, META_JOURNAL, append=not dry_run)
    except Missing:
        return Rewritten()
    try:
        if info.st_size > limits.journal_bytes:
            raise TooLarge(META_JOURNAL, f"is {info.st_size} bytes, over the limit of {limits.journal_bytes}")
        found = _look(descriptor, info.st_size, without)
        if found.lines and not dry_run:
            _replace(meta, descriptor, info, without)
        return found
    finally:
        os.close(descriptor)


def _look(descriptor: int, size: int, without: Redactor) -> Rewritten:
    lines, torn = 0, False
    for line in _lines(descriptor, size):
        if not line.endswith(b"\n"):
            torn = _as_text(line, without) != line
        elif _redacted(line, without) != line:
            lines += 1
    return Rewritten(lines, torn)


def _lines(descriptor: int, size: int) -> Iterator[bytes]:
    """Yield each line with its newline; the last may have none."""
    rest: list[bytes] = []
    for piece in files.pieces(descriptor, 0, size, META_JOURNAL):
        *whole, last = piece.split(b"\n")
        for line in whole:
            yield b"".join([*rest, line, b"\n"])
            rest.clear()
        rest.append(last)
    if any(rest):
        yield b"".join(rest)


def _redacted(line: bytes, without: Redactor) -> bytes:
    """A redacted line; workspace, updated_at and runs stay the same."""
    try:
        said = load_object(line, META_JOURNAL, LINE_VALUES, MAX_DEPTH + 1)
    except Malformed:
        return _as_text(line, without)
    kept = {key: said[key] for key in _IDENTITY if key in said}
    if said.get("status") in KNOWN_STATUSES:
        kept["status"] = said["status"]
    texts = {key: value for key, value in said.items() if key not in kept}
    changed = without.value(texts)
    whole = dump(changed | kept).encode() + b"\n"
    if changed != texts:
        return whole
    # A duplicate key: the parser keeps one value, and only that one is needed.
    return line if _as_text(line, without) == line or _as_text(whole, without) != whole else whole


def _as_text(line: bytes, without: Redactor) -> bytes:
    return without.text(line.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _replace(meta: int, descriptor: int, info: os.stat_result, without: Redactor) -> None:
    """Replace the old file while no other process has it open; appends that still arrive in it are copied to the new
    one."""
    temporary = files.random_name(marker.OTHER_TEMPORARY)
    new = files.create(meta, temporary, META_JOURNAL, os.O_APPEND)
    try:
        own_like(new, info, META_JOURNAL)
        for line in _lines(descriptor, info.st_size):
            files.write(new, _redacted(line, without) if line.endswith(b"\n") else line, META_JOURNAL)
        files.sync(new, META_JOURNAL)
        with _held(descriptor, info.st_size):
            files.replace(meta, temporary, JOURNAL, META_JOURNAL)
            is_wanted = undo.is_wanted(descriptor)
        _bring_over(descriptor, info.st_size, new, _WAIT_SECONDS if is_wanted else 0.0)
        files.sync(new, META_JOURNAL)
        files.sync(meta, META)
    except BaseException:
        files.remove(meta, temporary)
        raise
    finally:
        os.close(new)


@contextlib.contextmanager
def _held(descriptor: int, size: int) -> Iterator[None]:
    with undo.alone(descriptor) as is_alone:
        info = files.stat_of(descriptor, META_JOURNAL)
        is_quiet = is_alone or abs(time.time() - max(info.st_mtime, info.st_ctime)) >= undo.REST_SECONDS
        if is_alone is False or not is_quiet or info.st_size != size or (is_alone and undo.is_wanted(descriptor)):
            raise Busy(META_JOURNAL, "is open in another program")
        yield


def _bring_over(old: int, size: int, new: int, seconds: float) -> None:
    """For `seconds`, copy what is appended to the old file after `size` to the new one."""

    def came() -> bool:
        grown = files.stat_of(old, META_JOURNAL).st_size
        for piece in files.pieces(old, size, grown, META_JOURNAL):
            files.write(new, piece, META_JOURNAL)
        return grown > size

    wait_until(came, every(0.01, seconds))
