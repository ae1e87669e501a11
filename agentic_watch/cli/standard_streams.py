"""stdin, stdout and stderr as the program finds them: closed, full, or with nobody at the other end."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO


class OutputLost(Exception):
    """stdout takes no more; `cause` is the error of write(2).

    No OSError, so that nobody who expects one of a file takes this for it.
    """

    def __init__(self, cause: OSError) -> None:
        super().__init__(f"stdout: {cause.strerror}")
        self.reader_left = isinstance(cause, BrokenPipeError)


class _Stdout(io.FileIO):
    """Descriptor 1. Once it was lost, whatever is still flushed into it is dropped."""

    _lost = False

    def write(self, data: Any, /) -> int:
        if self._lost:
            return len(data)
        try:
            return super().write(data) or 0
        except OSError as error:
            self._lost = True
            raise OutputLost(error) from error


class _Stderr(io.FileIO):
    """Descriptor 2. A message that nobody can be told is no reason to stop."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


def guard() -> None:
    """Make each of the three usable, and have a lost stdout raise OutputLost.

    A terminal that is not UTF-8 gets an escape for what it cannot show, not a traceback.
    """
    _open_missing()
    sys.stdout = _text(_Stdout(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Stderr(2, "w", closefd=False), sys.stderr, line_buffering=True)


def _open_missing() -> None:
    """Fill what the caller closed (`>&-`), before a file of ours gets its number and the output meant for it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # Read-only, so that writing data to a closed stdout is the error that it is (EBADF).
            os.open(os.devnull, os.O_RDWR if number == 2 else os.O_RDONLY)


def _text(raw: io.FileIO, former: TextIO | None, *, line_buffering: bool = False) -> io.TextIOWrapper:
    if isinstance(former, io.TextIOWrapper):
        former.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(former, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=line_buffering or raw.isatty(),
    )


def stderr_is_journal() -> bool:
    """Whether stderr is the journal's own stream ($JOURNAL_STREAM, systemd.exec(5))."""
    stream = os.environ.get("JOURNAL_STREAM", "")
    try:
        info = os.fstat(2)
    except OSError:
        return False
    return stream == f"{info.st_dev}:{info.st_ino}"
